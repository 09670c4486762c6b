/** Entry of a receiving multifd channel's thread. */

import { type ReceiveChannelData, receiveBlocking } from '../src/migration/multifd/receive-channel.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker<ReceiveChannelData & { readonly fd: number }>((data, port) => receiveBlocking(data, port.ready));
