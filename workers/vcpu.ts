/** Entry of a vCPU's thread. */

import { runVcpu, type VcpuData } from '../src/hw/guest/vcpu-loop.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker<VcpuData>((data, port) => runVcpu(data, port.ready));
