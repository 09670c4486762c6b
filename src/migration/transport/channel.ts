/**
 * A migration channel: bytes out, bytes in, over a socket, a child process or a file. The two interfaces are all that
 * source and destination know of a transport.
 */

import type { GatherList } from '../../threads/segments.ts';

/** The writing end. Small writes are gathered; pages go out straight from guest RAM. */
export interface ByteSink {
  /** Bytes handed to the kernel so far (what was only gathered does not count yet). */
  readonly bytesWritten: number;
  /** Gathers `bytes` (copied); flushes by itself when the gather buffer is full. Throws `transport/closed`. */
  write(bytes: Uint8Array): Promise<void>;
  /** Writes records and pages without copying them; resolves when the batch may be reused. Throws `transport/closed`. */
  writeBatch(batch: GatherList): Promise<void>;
  /** Hands everything gathered to the kernel. */
  flush(): Promise<void>;
}

/** The reading end. */
export interface ByteSource {
  /** Reads at least one byte into `into` and returns how many; 0 is the end. Throws `transport/closed` on errors. */
  read(into: Uint8Array): Promise<number>;
  /**
   * Scattered read at raw addresses (an iovec array) that never waits: bytes, 0 at the end, or minus errno.
   * Undefined where there are no native calls.
   */
  readonly readv: ((iovAddress: number, count: number) => number) | undefined;
}

/** Reads and writes at places of an open file; all offsets are absolute (bytes). */
interface PlacedBytes {
  /** Stores all of `bytes`. Throws `transport/closed`. */
  writeAt(offset: number, bytes: Uint8Array): Promise<void>;
  /** Reads at most what fits into `into`; 0 is the end of the file. Throws `transport/closed`. */
  readAt(offset: number, into: Uint8Array): Promise<number>;
}

/** A handle of a file that is used for pages only. */
export interface PageFile extends PlacedBytes {
  /** Bytes it has stored so far. */
  readonly bytesWritten: number;
  /** Closes it once what is under way has ended. */
  close(): Promise<void>;
}

/** Places in an open file, beside its sequential bytes. */
export interface SeekableFile extends PlacedBytes {
  /** Where the channel's first byte is. */
  readonly start: number;
  /** Where the next flushed byte goes, or the next read one comes from. */
  readonly position: number;
  /** Continues the sequential bytes at `offset`; nothing may be gathered. */
  seek(offset: number): void;
  /** Opens the file once more, in the same direction; `direct`: past the page cache. Rejects with `transport/open`. */
  openPages(options: { direct: boolean }): Promise<PageFile>;
}

/** One open connection. */
export interface Channel {
  readonly uri: string;
  /** Whether bytes can travel back: false for files and one-way pipes. */
  readonly bidirectional: boolean;
  readonly sink: ByteSink;
  readonly source: ByteSource;
  /** Only for files. */
  readonly file?: SeekableFile;
  /**
   * Gives the connection away, for a thread that blocks on it: a descriptor of its own, which the caller closes. This
   * channel is dead afterwards. -1, and nothing happens, where that cannot be done; absent for other kinds of channels.
   */
  handOver?(): number;
  /** Ends it in good order: what was written reaches the peer. */
  close(): Promise<void>;
  /** Ends it at once; pending reads and writes fail with `transport/closed`. */
  destroy(why: string): void;
}
