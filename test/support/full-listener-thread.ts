/** The thread of a FullListener: listens, accepts nobody before its gate opens, and then so many connections and no more. */

import { createServer } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import type { FullListenerData } from './full-listener.ts';

const { target, connections, gate } = workerData as FullListenerData;
let accepted = 0;
const server = createServer((socket) => {
  socket.on('error', () => undefined); // who failed elsewhere leaves
  socket.resume();
  accepted += 1;
  if (accepted === connections) server.close();
});
server.listen(target, () => {
  parentPort?.postMessage(server.address());
  Atomics.wait(new Int32Array(gate), 0, 0);
});
