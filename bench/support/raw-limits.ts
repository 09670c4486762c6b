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
  await using sink = await connectSink(kind);
  const chunk = Buffer.alloc(WRITE_BYTES, 1);
  const start = performance.now();
  for (let sent = 0; sent < SOCKET_BYTES; sent += WRITE_BYTES) await write(sink.socket, chunk);
  return SOCKET_BYTES / ((performance.now() - start) / 1000);
}

/** How long so many bytes take over TCP from this process's memory to another one's, where all of them are kept (ms). */
export async function memoryToMemoryMs(bytes: number): Promise<number> {
  const memory = Buffer.alloc(bytes, 1);
  await using sink = await connectSink('tcp', bytes);
  const arrived = once(sink.socket, 'data');
  const start = performance.now();
  for (let sent = 0; sent < bytes; sent += WRITE_BYTES) {
    await write(sink.socket, memory.subarray(sent, Math.min(sent + WRITE_BYTES, bytes)));
  }
  await arrived;
  return performance.now() - start;
}

/** A connection to a sink of its own, which keeps `keptBytes` or throws all away. */
async function connectSink(kind: 'tcp' | 'unix', keptBytes = 0): Promise<{ socket: Socket } & AsyncDisposable> {
  await using dir = await tempDir();
  const server = createServer();
  server.listen(kind === 'unix' ? { path: dir.file('raw.sock') } : { host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const address = server.address();
  const where = address === null || typeof address === 'string' ? dir.file('raw.sock') : String(address.port);
  const args = [SINK, kind, where, String(keptBytes)];
  const sink = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  return {
    socket,
    [Symbol.asyncDispose]: async () => {
      socket.end();
      await once(sink, 'exit');
    },
  };
}

function write(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
