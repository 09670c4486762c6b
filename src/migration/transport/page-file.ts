/**
 * One more handle of a file, for pages at their places only: what multifd's channels are with mapped-ram (spec/wire.md §5.6,
 * §6). Past the page cache with `direct-io`, where offset, length and memory must be multiples of the page size, as guest
 * RAM and the places of its pages are. The system's calls run in Node's pool of I/O threads, so several go on at once.
 */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';
import type { PageFile } from './channel.ts';

/** Opens it. Rejects with `transport/open`, also where the file system has no direct I/O. */
export async function openPageFile(target: {
  path: string;
  uri: string;
  writes: boolean;
  direct: boolean;
}): Promise<PageFile> {
  const { path, uri, writes, direct } = target;
  const mode = writes ? constants.O_WRONLY : constants.O_RDONLY;
  try {
    return new OpenPageFile(await open(path, mode | (direct ? constants.O_DIRECT : 0)), uri, direct);
  } catch (cause) {
    const why = `Could not open '${path}': ${systemReason(cause)}${direct ? ' (with direct-io, which not every file system has)' : ''}`;
    throw new HarnessError('transport/open', { uri, why }, { cause });
  }
}

class OpenPageFile implements PageFile {
  readonly #file: FileHandle;
  readonly #uri: string;
  readonly #direct: boolean;
  #written = 0;
  #closed: Promise<void> | undefined;

  constructor(file: FileHandle, uri: string, direct: boolean) {
    this.#file = file;
    this.#uri = uri;
    this.#direct = direct;
  }

  get bytesWritten(): number {
    return this.#written;
  }

  async writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#io(() => this.#file.write(bytes, done, bytes.length - done, offset + done));
      done += bytesWritten;
      this.#written += bytesWritten;
    }
  }

  async readAt(offset: number, into: Uint8Array): Promise<number> {
    // A direct read stops between two pages at the end of the file only.
    if (this.#direct && offset % PAGE_SIZE !== 0) return 0;
    const { bytesRead } = await this.#io(() => this.#file.read(into, 0, into.length, offset));
    return bytesRead;
  }

  close(): Promise<void> {
    this.#closed ??= this.#file.close(); // which waits for what is under way
    return this.#closed;
  }

  async #io<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (this.#closed !== undefined) throw new Error('closed');
      return await work();
    } catch (cause) {
      const details = { uri: this.#uri, at: this.#written, why: messageOf(cause) };
      throw new HarnessError('transport/closed', details, { cause });
    }
  }
}
