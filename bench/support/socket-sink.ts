/** A process of its own: connects to `unix PATH` or `tcp PORT`, reads to the end into one buffer, and throws it away. */

import { connect } from 'node:net';

const BUFFER_BYTES = 1024 ** 2;

const [kind, where = ''] = process.argv.slice(2);
connect({
  ...(kind === 'unix' ? { path: where } : { host: '127.0.0.1', port: Number(where) }),
  // The connecting side may choose where the kernel puts the bytes; an accepting one may not.
  onread: { buffer: new Uint8Array(BUFFER_BYTES), callback: () => true },
});
