/** Entry of a sending multifd channel's thread. */

import { type SendChannelData, sendBlocking } from '../src/migration/multifd/send-channel.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker<SendChannelData & { readonly fd: number }>((data, port) => sendBlocking(data, port.ready));
