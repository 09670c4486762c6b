/** What the machine can do at most: copying memory, and a socket between two processes that do nothing else. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { tempDir } from '../../test/support/temp.ts';
import { medianOf } from './statistics.ts';

const MIB = 1024 ** 2;
const COPY_BYTES = 256 * MIB;
const SOCKET_BYTES = 2048 * MIB;
const WRITE_BYTES = MIB;
const REPEATS = 5;
const SINK = fileURLToPath(new URL('socket-sink.ts', import.meta.url));

/** Bytes per second: medians of a few repeats. */
export interface RawLimits {
  readonly copy: number;
  readonly tcp: number;
  readonly unix: number;
}

/** Measures them; takes about ten seconds. */
export async function measureRawLimits(): Promise<RawLimits> {
  const copy = medianOf(Array.from({ length: REPEATS }, copySpeed));
  return { copy, tcp: medianOf(await socketSpeeds('tcp')), unix: medianOf(await socketSpeeds('unix')) };
}

/** Shows them in one line. */
export function printRawLimits({ copy, tcp, unix }: RawLimits): void {
  const [copied, overTcp, overUnix] = [copy, tcp, unix].map((speed) => `${(speed / 1e9).toFixed(2)} GB/s`);
  console.log(
    `Raw limits: copying memory ${copied}, a socket with nothing else to do tcp ${overTcp}, unix ${overUnix}\n`,
  );
}

/** Bytes per second of one large copy in memory. */
export function copySpeed(): number {
  // Filled before, so that no page fault is part of the time.
  const from = new Uint8Array(COPY_BYTES).fill(1);
  const to = new Uint8Array(COPY_BYTES).fill(2);
  const start = performance.now();
  to.set(from);
  return COPY_BYTES / ((performance.now() - start) / 1000);
}

async function socketSpeeds(kind: 'tcp' | 'unix'): Promise<number[]> {
  const speeds: number[] = [];
  for (let n = 0; n < REPEATS; n += 1) speeds.push(await socketSpeed(kind));
  return speeds;
}

/** Bytes per second from this process to another one that throws them away. */
export async function socketSpeed(kind: 'tcp' | 'unix'): Promise<number> {
  await using dir = await tempDir();
  const server = createServer();
  server.listen(kind === 'unix' ? { path: dir.file('raw.sock') } : { host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const address = server.address();
  const where = address === null || typeof address === 'string' ? dir.file('raw.sock') : String(address.port);
  const sink = spawn(process.execPath, [SINK, kind, where], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  const chunk = Buffer.alloc(WRITE_BYTES, 1);
  const start = performance.now();
  for (let sent = 0; sent < SOCKET_BYTES; sent += WRITE_BYTES) {
    await new Promise<void>((resolve, reject) => {
      socket.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }
  const seconds = (performance.now() - start) / 1000;
  socket.end();
  await once(sink, 'exit');
  return SOCKET_BYTES / seconds;
}
