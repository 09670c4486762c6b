/**
 * A process of its own: connects to `unix PATH` or `tcp PORT` and reads to the end. Without a third argument all goes into one buffer
 * and is thrown away; with one, so many bytes go into as much memory, and a byte goes back when they are there.
 */

import { connect } from 'node:net';

const BUFFER_BYTES = 1024 ** 2;

const [kind, where = '', keep = '0'] = process.argv.slice(2);
const kept = Number(keep);
// Filled before, so that no page fault is part of the time.
const memory = new Uint8Array(Math.max(kept, BUFFER_BYTES)).fill(1);
let received = 0;
const socket = connect({
  ...(kind === 'unix' ? { path: where } : { host: '127.0.0.1', port: Number(where) }),
  // The connecting side may choose where the kernel puts the bytes; an accepting one may not.
  onread: {
    buffer: () => memory.subarray(received, Math.min(received + BUFFER_BYTES, memory.length)),
    callback: (count) => {
      if (kept === 0) return true;
      received += count;
      if (received === kept) socket.end('1');
      return received < kept;
    },
  },
});
