/** Entry of a vCPU's thread. */

import type { VcpuData } from '../src/hw/guest/vcpu-loop.ts';
import { runWorker } from '../src/threads/worker-entry.ts';

await runWorker<VcpuData>(async () => {
  const { runVcpu } = await import('../src/hw/guest/vcpu-loop.ts');
  return (data, port) => runVcpu(data, port.ready);
});
