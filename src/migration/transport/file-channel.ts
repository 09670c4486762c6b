/** A channel to a file from an offset on (`file:PATH,offset=N`, spec/control.md §6). One-way: what is written stays there. */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { assert } from '../../base/assert.ts';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import type { GatherList } from '../../threads/segments.ts';
import type { ByteSink, ByteSource, Channel, PageFile, SeekableFile } from './channel.ts';
import { openPageFile } from './page-file.ts';

const GATHER_BYTES = 32_768;
const { O_WRONLY, O_CREAT } = constants;

/** Creates (mode 0600) and truncates to `offset` for writing. Rejects with `transport/open`. */
export async function createFile(target: { path: string; offset: number; uri: string }): Promise<Channel> {
  const { uri, path, offset } = target;
  const file = await opened({ ...target, verb: 'create' }, () => open(path, O_WRONLY | O_CREAT, 0o600));
  try {
    await file.truncate(offset);
  } catch (cause) {
    await file.close();
    const why = `failed to truncate migration file to offset ${offset.toString(16)}: ${systemReason(cause)}`;
    throw new HarnessError('transport/open', { uri, why }, { cause });
  }
  return new FileChannel(file, { ...target, writes: true });
}

/** Opens for reading from `offset`. Rejects with `transport/open`. */
export async function openFile(target: { path: string; offset: number; uri: string }): Promise<Channel> {
  const file = await opened({ ...target, verb: 'open' }, () => open(target.path, 'r'));
  return new FileChannel(file, { ...target, writes: false });
}

async function opened(
  { uri, path, verb }: { uri: string; path: string; verb: 'create' | 'open' },
  start: () => Promise<FileHandle>,
): Promise<FileHandle> {
  try {
    return await start();
  } catch (cause) {
    const why = `Could not ${verb} '${path}': ${systemReason(cause)}`;
    throw new HarnessError('transport/open', { uri, why }, { cause });
  }
}

class FileChannel implements Channel, ByteSink, ByteSource, SeekableFile {
  readonly uri: string;
  readonly bidirectional = false;
  readonly readv = undefined;
  readonly #file: FileHandle;
  readonly start: number;
  readonly #target: { readonly path: string; readonly uri: string; readonly writes: boolean };
  readonly #gather = new Uint8Array(GATHER_BYTES);
  #used = 0;
  #position: number;
  #written = 0;
  #closed: Promise<void> | undefined;

  constructor(file: FileHandle, target: { path: string; uri: string; offset: number; writes: boolean }) {
    this.uri = target.uri;
    this.#file = file;
    this.#target = target;
    this.start = target.offset;
    this.#position = target.offset;
  }

  get sink(): ByteSink {
    return this;
  }

  get source(): ByteSource {
    return this;
  }

  get file(): SeekableFile {
    return this;
  }

  get bytesWritten(): number {
    return this.#written;
  }

  get position(): number {
    return this.#position;
  }

  seek(offset: number): void {
    assert(this.#used === 0, 'bytes that were gathered before a seek would go to the new place');
    this.#position = offset;
  }

  openPages({ direct }: { direct: boolean }): Promise<PageFile> {
    return openPageFile({ ...this.#target, direct });
  }

  async writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const left = bytes.length - done;
      const { bytesWritten } = await this.#io(() => this.#file.write(bytes, done, left, offset + done));
      done += bytesWritten;
      this.#written += bytesWritten;
    }
  }

  async readAt(offset: number, into: Uint8Array): Promise<number> {
    const { bytesRead } = await this.#io(() => this.#file.read(into, 0, into.length, offset));
    return bytesRead;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#used + bytes.length > GATHER_BYTES) await this.flush();
    if (bytes.length > GATHER_BYTES) return this.#store([bytes]);
    this.#gather.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  async flush(): Promise<void> {
    if (this.#used === 0) return;
    const bytes = this.#gather.subarray(0, this.#used);
    await this.#store([bytes]);
    this.#used = 0;
  }

  async writeBatch(batch: GatherList): Promise<void> {
    await this.flush();
    const views: Uint8Array[] = [];
    for (let index = 0; index < batch.entryCount; index++) views.push(batch.view(index));
    await this.#store(views);
  }

  async #store(views: Uint8Array[]): Promise<void> {
    let left = views;
    while (left.length > 0) {
      const { bytesWritten } = await this.#io(() => this.#file.writev(left, this.#position));
      this.#position += bytesWritten;
      this.#written += bytesWritten;
      left = rest(left, bytesWritten);
    }
  }

  async read(into: Uint8Array): Promise<number> {
    const { bytesRead } = await this.#io(() => this.#file.read(into, 0, into.length, this.#position));
    this.#position += bytesRead;
    return bytesRead;
  }

  async #io<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (this.#closed !== undefined) throw new Error('closed');
      return await work();
    } catch (cause) {
      throw new HarnessError(
        'transport/closed',
        { uri: this.uri, at: this.bytesWritten, why: messageOf(cause) },
        { cause },
      );
    }
  }

  async close(): Promise<void> {
    if (this.#closed === undefined) await this.flush();
    this.#closed ??= this.#file.close();
    await this.#closed;
  }

  destroy(_why: string): void {
    // An operation under way keeps the handle until it is done; FileHandle.close waits for it.
    this.#closed ??= this.#file.close();
    this.#closed.catch(() => undefined); // already given up: a failing close changes nothing
  }
}

function rest(views: Uint8Array[], done: number): Uint8Array[] {
  let left = done;
  for (const [index, view] of views.entries()) {
    if (left < view.length) return [view.subarray(left), ...views.slice(index + 1)];
    left -= view.length;
  }
  return [];
}
