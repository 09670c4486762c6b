/** Entry of a thread for receiving multifd channels, one after the other. */

import { type ReceiveChannelData, receiveBlocking } from '../src/migration/multifd/receive-channel.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker((_, port) => {
  port.ready();
  // What arrives is what ChannelThread sends.
  return port.serve((_kind, data) => receiveBlocking(data as ReceiveChannelData & { readonly fd: number }, port.emit));
});
