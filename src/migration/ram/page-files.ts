/**
 * The handles over which the pages of a mapped-ram file go: the main channel's own, or with multifd one per channel, each with
 * one read or write under way. Who hands over work waits for a free handle only; `settle` waits for all work.
 */

import type { MigrationOptionsSnapshot } from '../options/options.ts';
import type { PageFile, SeekableFile } from '../transport/channel.ts';

/** See the header. `close` ends the handles that it opened. */
export class PageFiles {
  readonly #all: readonly PageFile[];
  readonly #free: PageFile[];
  readonly #isMain: boolean;
  readonly #working = new Set<Promise<void>>();
  #failure: { readonly order: number; readonly error: unknown } | undefined;
  #started = 0;

  /** The handles that the options ask for, of a file that is open. Rejects with `transport/open`. */
  static forChannels(
    file: SeekableFile,
    options: Pick<MigrationOptionsSnapshot, 'capabilities' | 'multifd' | 'directIo'>,
  ): Promise<PageFiles> | PageFiles {
    if (!options.capabilities.multifd) return PageFiles.ofMain(file);
    return PageFiles.open(file, { count: options.multifd.channels, direct: options.directIo });
  }

  /** The main channel's handle alone. */
  static ofMain(file: SeekableFile): PageFiles {
    return new PageFiles([{ ...NEVER_CLOSED, readAt: file.readAt.bind(file), writeAt: file.writeAt.bind(file) }], true);
  }

  /** `count` handles besides the main channel's. Rejects with `transport/open`; then none is left open. */
  static async open(file: SeekableFile, options: { count: number; direct: boolean }): Promise<PageFiles> {
    const opening = Array.from({ length: options.count }, () => file.openPages(options));
    const ends = await Promise.allSettled(opening);
    const opened = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed === undefined) return new PageFiles(opened, false);
    await Promise.all(opened.map((one) => one.close()));
    throw failed.reason;
  }

  private constructor(files: readonly PageFile[], isMain: boolean) {
    this.#all = files;
    this.#free = [...files];
    this.#isMain = isMain;
  }

  /** Bytes that went over other handles than the main channel's. */
  get bytesWritten(): number {
    return this.#isMain ? 0 : this.#all.reduce((sum, file) => sum + file.bytesWritten, 0);
  }

  /** Gives `work` a free handle as soon as there is one. Throws what earlier work failed with. */
  async run(work: (file: PageFile) => Promise<void>): Promise<void> {
    while (this.#free.length === 0) await Promise.race(this.#working);
    this.#check();
    const file = this.#free.pop()!;
    const order = this.#started++;
    const working = work(file)
      .catch((error: unknown) => {
        if (this.#failure === undefined || order < this.#failure.order) this.#failure = { order, error };
      })
      .finally(() => {
        this.#free.push(file);
        this.#working.delete(working);
      });
    this.#working.add(working);
  }

  /** Waits until nothing is under way. Throws the failure of what was handed over first. */
  async settle(): Promise<void> {
    await this.idle();
    this.#check();
  }

  /** Waits until nothing is under way, however it ends. */
  async idle(): Promise<void> {
    await Promise.all(this.#working);
  }

  /** Ends the handles once nothing is under way; does nothing the second time. */
  async close(): Promise<void> {
    await Promise.all(this.#all.map((file) => file.close()));
    await this.idle();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

const NEVER_CLOSED = { bytesWritten: 0, close: async () => undefined };
