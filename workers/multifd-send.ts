/** Entry of a thread for sending multifd channels, one after the other. */

import type { RamShare } from '../src/hw/ram.ts';
import type { SendChannelData } from '../src/migration/multifd/send-channel.ts';
import { runWorker } from '../src/threads/worker-entry.ts';

await runWorker<readonly RamShare[]>(async () => {
  const { RamWindows } = await import('../src/hw/ram-window.ts');
  const { sendBlocking } = await import('../src/migration/multifd/send-channel.ts');
  return (blocks, port) => {
    const ram = new RamWindows(blocks);
    port.ready();
    // What arrives is what ChannelThread sends.
    return port.serve((_kind, data) => sendBlocking(data as SendChannelData & { readonly fd: number }, ram));
  };
});
