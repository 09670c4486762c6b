/** Entry of a thread for sending multifd channels, one after the other. */

import { type SendChannelData, sendBlocking } from '../src/migration/multifd/send-channel.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker((_, port) => {
  port.ready();
  // What arrives is what ChannelThread sends.
  return port.serve((_kind, data) => sendBlocking(data as SendChannelData & { readonly fd: number }));
});
