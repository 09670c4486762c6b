/** Entry of a thread for receiving multifd channels, one after the other. */

import type { RamShare } from '../src/hw/ram.ts';
import type { ReceiveChannelData } from '../src/migration/multifd/receive-channel.ts';
import { runWorker } from '../src/threads/worker-entry.ts';

await runWorker<readonly RamShare[]>(async () => {
  const { RamWindows } = await import('../src/hw/ram-window.ts');
  const { receiveBlocking } = await import('../src/migration/multifd/receive-channel.ts');
  return (blocks, port) => {
    const ram = new RamWindows(blocks);
    port.ready();
    // What arrives is what ChannelThread sends.
    return port.serve((_kind, data) =>
      receiveBlocking(data as ReceiveChannelData & { readonly fd: number }, ram, port.emit),
    );
  };
});
