/** Which congestion control a migration's TCP socket has. */

import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { acceptSocket, connectSocket } from '../../../src/migration/transport/socket-channel.ts';
import { native, nativeFunctions } from '../../../src/threads/native.ts';

const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;

test.skipIf(native === undefined)('both ends of a TCP connection within one machine send without pacing', async () => {
  const server = net.createServer({ pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepting = once(server, 'connection') as Promise<[net.Socket]>;
  const ours = await connectSocket({ host: '127.0.0.1', port }, 'tcp:source', new AbortController().signal);
  const [accepted] = await accepting;
  const descriptors = [ours, acceptSocket(accepted, 'tcp:destination')].map((channel) => channel.handOver?.() ?? -1);
  server.close();

  expect(descriptors.map(congestionControlOf)).toEqual(['reno', 'reno']);

  for (const fd of descriptors) new net.Socket({ fd }).destroy();
});

function congestionControlOf(fd: number): string {
  const functions = nativeFunctions({
    getsockopt: { arguments: ['i32', 'i32', 'i32', 'u64', 'u64'], return: 'i32' },
  });
  const name = new Uint8Array(new SharedArrayBuffer(16));
  const length = new Uint32Array(new SharedArrayBuffer(4)).fill(name.length);
  const at = (view: Uint8Array) => BigInt(native?.addressOf(view) ?? 0);
  const result = functions?.getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, at(name), at(new Uint8Array(length.buffer)));
  expect(result).toBe(0);
  return Buffer.from(name).toString('latin1').replaceAll('\0', '');
}
