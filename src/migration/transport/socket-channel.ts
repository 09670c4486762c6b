/**
 * A channel over a connected socket. With native calls pages leave by writev straight from RAM and arrive by readv
 * straight into RAM; libuv only waits: for writability by writing a little itself, for readability by reading a few bytes.
 */

import { readFileSync } from 'node:fs';
import net from 'node:net';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { ERRNO, native } from '../../threads/native.ts';
import { advanceEntries, type GatherList } from '../../threads/segments.ts';
import type { ByteSink, ByteSource, Channel } from './channel.ts';
import { ShortWait } from './short-wait.ts';

const GATHER_BYTES = 32_768;
/** What libuv is given to write when the kernel's buffer is full; its completion means there is room again. */
const WAIT_WRITE_BYTES = 65_536;
/** What libuv reads to learn that there is something to read. */
const WAIT_READ_BYTES = 64;
/**
 * Socket buffers that hold many batches: the larger they are, the less often one side sleeps and has to be woken by the other
 * (bytes; measured by `npm run bench -- stream`).
 */
const SOCKET_BUFFER_BYTES = 4 << 20;
/**
 * For a thread that blocks, to send from to a peer on this machine: waking it costs little, and what waits in a small buffer is still
 * in the processor's cache when the other side takes it. A loopback's segments have 64 KiB: at 32 KiB, which the kernel doubles, a
 * migration stood still. A link to another machine may hold megabytes: there the buffer stays as it is. (Bytes; measured by
 * `npm run bench -- multifd`.)
 */
const BLOCKING_SEND_BYTES = { unix: 256 << 10, tcp: 96 << 10 };
const BUFFER_LIMIT_FILES = ['/proc/sys/net/core/rmem_max', '/proc/sys/net/core/wmem_max'];

/** The descriptor of a socket; -1 when Node does not tell (then the portable path is used). */
export function descriptorOf(socket: net.Socket): number {
  // Node documents `_handle` and `fd` only for server.listen; absent means the slower path.
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  return native === undefined ? -1 : (handle?.fd ?? -1);
}

/** The bytes libuv lands in when it waits for a readable socket, and who waits. */
class Landing {
  readonly bytes = new Uint8Array(new SharedArrayBuffer(WAIT_READ_BYTES));
  arrived: ((count: number) => void) | undefined;

  readonly onread = {
    buffer: this.bytes,
    callback: (count: number): boolean => {
      this.arrived?.(count);
      return false; // stop: the next bytes are read natively
    },
  };
}

let largestBufferBytes: number | undefined;

/** Whether the system lets a process ask for buffers of this size. */
function mayHaveLargeBuffers(): boolean {
  try {
    largestBufferBytes ??= Math.min(...BUFFER_LIMIT_FILES.map((file) => Number(readFileSync(file, 'latin1'))));
  } catch {
    largestBufferBytes = 0; // no /proc: the kernel's own sizes will do
  }
  return largestBufferBytes >= SOCKET_BUFFER_BYTES;
}

/** Connects to a unix path or a host and port. Resolves with a channel; rejects with the socket's own error. */
export function connectSocket(target: net.NetConnectOpts, uri: string, signal: AbortSignal): Promise<Channel> {
  const landing = native === undefined ? undefined : new Landing();
  return new Promise((resolve, reject) => {
    const socket = net.connect({ ...target, ...(landing === undefined ? {} : { onread: landing.onread }) });
    const abort = () => socket.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
    signal.addEventListener('abort', abort, { once: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort);
      socket.off('error', reject);
      resolve(new SocketChannel(socket, uri, landing));
    });
    if (signal.aborted) abort();
  });
}

/** Wraps a socket that a server accepted with `pauseOnConnect`. */
export function acceptSocket(accepted: net.Socket, uri: string): Channel {
  const fd = descriptorOf(accepted);
  const copy = fd < 0 ? -1 : (native?.dup(fd) ?? -1);
  if (copy < 0) return new SocketChannel(accepted, uri, undefined);
  // Only a socket made with `onread` lets the kernel's bytes go where we want them: adopt a copy of the descriptor.
  accepted.on('error', () => undefined); // the copy reports; this one is only let go
  const channel = adoptSocket(copy, uri);
  accepted.destroy();
  return channel;
}

/** Wraps a connected socket, or a pipe, by its descriptor, which is the channel's from then on. */
export function adoptSocket(fd: number, uri: string): Channel {
  const landing = native === undefined ? undefined : new Landing();
  const onread = landing === undefined ? {} : { onread: landing.onread };
  // Node's types do not know that this constructor takes `onread` too.
  const socket = new net.Socket({ fd, readable: true, writable: true, ...onread } as net.SocketConstructorOpts);
  return new SocketChannel(socket, uri, landing);
}

class SocketChannel implements Channel {
  readonly uri: string;
  readonly bidirectional = true;
  readonly sink: ByteSink;
  readonly source: ByteSource;
  readonly #socket: net.Socket;
  readonly #state: SocketState;
  readonly #isUnix: boolean;
  /** The peer is on this machine. */
  readonly #isLocal: boolean;

  constructor(socket: net.Socket, uri: string, landing: Landing | undefined) {
    this.uri = uri;
    this.#socket = socket;
    this.#state = new SocketState(socket, uri);
    socket.setNoDelay(true);
    const fd = descriptorOf(socket);
    this.#isUnix = socket.remoteFamily === undefined;
    this.#isLocal = this.#isUnix || socket.localAddress === socket.remoteAddress;
    // Nothing is lost or queued between two sockets of one machine: pacing there is only timers (bench/README.md).
    if (fd >= 0 && this.#isLocal && !this.#isUnix) native?.sendUnpaced(fd);
    // A TCP socket whose buffers the kernel sizes grows beyond what a process may ask for where that is little.
    if (fd >= 0 && (this.#isUnix || mayHaveLargeBuffers())) native?.setSocketBuffers(fd, SOCKET_BUFFER_BYTES);
    this.sink = new SocketSink(socket, this.#state, fd);
    this.source =
      landing === undefined ? new EventSource(socket, this.#state) : new NativeSource(socket, this.#state, fd, landing);
  }

  handOver(): number {
    const fd = descriptorOf(this.#socket);
    const copy = fd < 0 ? -1 : (native?.dup(fd) ?? -1);
    if (copy < 0) return -1;
    if (this.#isLocal) native?.setSendBuffer(copy, BLOCKING_SEND_BYTES[this.#isUnix ? 'unix' : 'tcp']);
    native?.setBlocking(copy); // of both, but this one does nothing any more
    this.destroy('it was given away');
    return copy;
  }

  async close(): Promise<void> {
    if (this.#socket.destroyed) return;
    await this.sink.flush().catch(() => undefined); // the peer is gone: nothing left to deliver
    await new Promise<void>((resolve) => {
      this.#socket.once('close', () => resolve());
      this.#socket.end(() => this.#socket.destroy());
    });
  }

  destroy(why: string): void {
    this.#state.fail(why);
    this.#socket.destroy();
  }
}

/** Why a socket is dead, shared by both directions, and who wants to know. */
export class SocketState {
  readonly uri: string;
  readonly #socket: net.Socket;
  readonly #waiting = new Set<(error: Error) => void>();
  why: string | undefined;
  ended = false;
  /** Bytes that went out so far. */
  written: () => number;

  constructor(socket: net.Socket, uri: string) {
    this.uri = uri;
    this.#socket = socket;
    this.written = () => socket.bytesWritten;
    socket.on('error', (error) => this.fail(messageOf(error)));
    socket.on('close', () => this.fail('closed'));
    socket.on('end', () => {
      this.ended = true;
    });
  }

  fail(why: string): void {
    this.why ??= why;
    for (const reject of this.#waiting) reject(this.error());
    this.#waiting.clear();
  }

  error(why: string = this.why ?? 'closed'): HarnessError {
    return new HarnessError('transport/closed', { uri: this.uri, at: this.written(), why });
  }

  /** Throws when the socket is dead: before every native call, because its descriptor may be another's by now. */
  check(): void {
    if (this.why !== undefined || this.#socket.destroyed) throw this.error();
  }

  /** A promise that `start` resolves and that the socket's death rejects. */
  wait<T>(start: (resolve: (value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.why !== undefined) return reject(this.error());
      this.#waiting.add(reject);
      start((value) => {
        this.#waiting.delete(reject);
        resolve(value);
      });
    });
  }
}

/** Writes to a socket: gathered small writes, pages by writev straight from RAM. */
export class SocketSink implements ByteSink {
  readonly #socket: net.Socket;
  readonly #state: SocketState;
  readonly #fd: number;
  // Shared, because their addresses are taken (see native.ts).
  readonly #gather = new Uint8Array(new SharedArrayBuffer(GATHER_BYTES));
  readonly #iov = new BigUint64Array(new SharedArrayBuffer(16));
  readonly #iovAddress: number;
  readonly #short: ShortWait;
  #used = 0;
  #written = 0;
  /** Why nothing more can be written. What the peer said before it went can still be read. */
  #broken: string | undefined;
  /** Writes that libuv has not finished: what comes after them has to queue behind them. */
  #queued = 0;

  constructor(socket: net.Socket, state: SocketState, fd: number) {
    this.#socket = socket;
    this.#state = state;
    this.#fd = fd;
    this.#short = ShortWait.forWriting(fd);
    this.#iovAddress = native?.addressOf(new Uint8Array(this.#iov.buffer)) ?? 0;
    this.#iov[0] = BigInt(native?.addressOf(this.#gather) ?? 0);
    state.written = () => this.#written;
  }

  get bytesWritten(): number {
    return this.#written;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#used + bytes.length > GATHER_BYTES) await this.flush();
    if (bytes.length > GATHER_BYTES) return this.#send(bytes);
    this.#gather.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  async flush(): Promise<void> {
    this.#check();
    const length = this.#used;
    this.#used = 0;
    const done = this.#sendNow(length);
    if (done < length) await this.#send(this.#gather.slice(done, length));
  }

  async writeBatch(batch: GatherList): Promise<void> {
    if (this.#used > 0) await this.flush();
    if (native === undefined || this.#fd < 0) {
      await this.#sendViews(batch, 0, Number.POSITIVE_INFINITY);
      return;
    }
    let index = 0;
    const end = this.#written + batch.byteLength;
    while (index < batch.entryCount) {
      this.#check();
      const result = native.writev(this.#fd, batch.iovAddress + index * 16, batch.entryCount - index);
      if (result === -ERRNO.EAGAIN && this.#short.isReadySoon()) continue;
      if (result === -ERRNO.EAGAIN) index = await this.#sendViews(batch, index, WAIT_WRITE_BYTES);
      else if (result >= 0) {
        this.#written += result;
        if (this.#written === end) return;
        index = advanceEntries(batch.entries, index, result);
      } else this.#failed(result);
    }
  }

  /** Hands gathered bytes to the kernel at once, without the turn of the event loop that libuv's way costs. */
  #sendNow(length: number): number {
    if (native === undefined || this.#fd < 0 || this.#queued > 0 || length === 0) return 0;
    this.#iov[1] = BigInt(length);
    const result = native.writev(this.#fd, this.#iovAddress, 1);
    if (result < 0) {
      this.#failed(result);
      return 0;
    }
    this.#written += result;
    return result;
  }

  /** Errors that are no more than "not now" leave the work to the next attempt. */
  #failed(result: number): void {
    if (result === -ERRNO.EINTR || result === -ERRNO.EAGAIN) return;
    this.#broken = result === -ERRNO.EPIPE ? 'Broken pipe' : `write failed with errno ${-result}`;
  }

  #check(): void {
    if (this.#broken !== undefined) throw this.#state.error(this.#broken);
    this.#state.check();
  }

  /** Writes about `limit` bytes of entries from `index` on through libuv; returns the entry after the last one written. */
  async #sendViews(batch: GatherList, index: number, limit: number): Promise<number> {
    this.#check();
    let next = index;
    let bytes = 0;
    await this.#state.wait<void>((resolve) => {
      this.#socket.cork();
      while (next < batch.entryCount && bytes < limit) {
        const view = batch.view(next);
        bytes += view.length;
        next += 1;
        const last = next === batch.entryCount || bytes >= limit;
        if (last) this.#socket.write(view, (error) => error ?? resolve());
        else this.#socket.write(view);
      }
      this.#socket.uncork();
    });
    this.#written += bytes;
    return next;
  }

  async #send(bytes: Uint8Array): Promise<void> {
    this.#check();
    this.#queued += 1;
    await this.#state.wait<void>((resolve) => this.#socket.write(bytes, (error) => error ?? resolve()));
    this.#queued -= 1; // after an error it stays: the socket is dead
    this.#written += bytes.length;
  }
}

/** Reads by native calls; libuv only tells when there is something. */
class NativeSource implements ByteSource {
  readonly readv: (iovAddress: number, count: number) => number;
  readonly #socket: net.Socket;
  readonly #state: SocketState;
  readonly #landing: Landing;
  readonly #short: ShortWait;
  /** One u64 (address, length) entry: the landing buffer. */
  readonly #iov = new BigUint64Array(new SharedArrayBuffer(16));
  readonly #iovAddress: number;

  constructor(socket: net.Socket, state: SocketState, fd: number, landing: Landing) {
    this.#socket = socket;
    this.#state = state;
    this.#landing = landing;
    this.#short = ShortWait.forReading(fd);
    this.#iov.set([BigInt(native?.addressOf(landing.bytes) ?? 0), BigInt(WAIT_READ_BYTES)]);
    this.#iovAddress = native?.addressOf(new Uint8Array(this.#iov.buffer)) ?? 0;
    socket.pause();
    this.readv = (iovAddress, count) => {
      if (state.why !== undefined || socket.destroyed) return -ERRNO.ECONNRESET;
      return native?.readv(fd, iovAddress, count) ?? -ERRNO.EAGAIN;
    };
  }

  async read(into: Uint8Array): Promise<number> {
    if (this.#state.ended) return 0;
    const landing = this.#landing;
    if (this.#short.isReadySoon()) {
      const count = this.readv(this.#iovAddress, 1);
      if (count > 0) {
        into.set(landing.bytes.subarray(0, count));
        return count;
      } // the end and errors are libuv's to tell
    }
    let end: (() => void) | undefined;
    // A target shorter than the landing buffer would lose bytes: the reader always asks for more (see StreamReader).
    try {
      const count = await this.#state.wait<number>((resolve) => {
        end = () => resolve(0);
        landing.arrived = resolve;
        this.#socket.once('end', end);
        this.#socket.resume();
      });
      into.set(landing.bytes.subarray(0, count));
      return count;
    } finally {
      landing.arrived = undefined;
      if (end !== undefined) this.#socket.off('end', end);
      this.#socket.pause();
    }
  }
}

/** Reads by 'data' events: the portable way. */
export class EventSource implements ByteSource {
  readonly readv = undefined;
  readonly #socket: net.Socket;
  readonly #state: SocketState;
  #chunk: Uint8Array | undefined;
  #arrived: ((count: number) => void) | undefined;

  constructor(socket: net.Socket, state: SocketState) {
    this.#socket = socket;
    this.#state = state;
    socket.on('data', (chunk: Uint8Array) => {
      socket.pause();
      this.#chunk = chunk;
      this.#arrived?.(chunk.length);
    });
    socket.on('end', () => this.#arrived?.(0));
    socket.pause();
  }

  async read(into: Uint8Array): Promise<number> {
    if (this.#chunk === undefined) {
      if (this.#state.ended) return 0;
      await this.#state.wait<number>((resolve) => {
        this.#arrived = resolve;
        this.#socket.resume();
      });
    }
    const chunk = this.#chunk;
    if (chunk === undefined) return 0;
    const count = Math.min(into.length, chunk.length);
    into.set(chunk.subarray(0, count));
    this.#chunk = count === chunk.length ? undefined : chunk.subarray(count);
    return count;
  }
}
