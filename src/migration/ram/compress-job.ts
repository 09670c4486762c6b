/**
 * The work of legacy `compress` on pool threads (spec/wire.md §4.5): one complete zlib stream for each page, made from a copy,
 * because the guest may write meanwhile; and back, straight into RAM.
 */

import { deflateSync, inflateSync } from 'node:zlib';
import { messageOf } from '../../base/errors.ts';
import type { RamShare } from '../../hw/ram.ts';
import { RamWindow } from '../../hw/ram-window.ts';
import type { DeflatedPages, DeflateJob, InflatedPages, InflateJob } from '../../threads/job-pool.ts';
import { PAGE_SIZE } from '../../wire/ram.ts';

const ZERO_PAGE = new Uint8Array(PAGE_SIZE);

/** The source's job; `data` is what CompressRamSaver starts its pool with. */
export function pageDeflater(data: unknown): (job: DeflateJob) => DeflatedPages {
  const windows = windowsOf(data);
  const copy = new Uint8Array(PAGE_SIZE);
  return ({ block, pages, level, detectZero }) => {
    const { bytes } = windows[block]!;
    const streams = Array.from(pages, (page) => {
      copy.set(bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE));
      const isZero = detectZero && Buffer.compare(copy, ZERO_PAGE) === 0;
      return isZero ? new Uint8Array(0) : deflateSync(copy, { level });
    });
    return { bytes: Buffer.concat(streams), lengths: Uint32Array.from(streams, (stream) => stream.length) };
  };
}

/** The destination's job; `data` is what PageExpander starts its pool with. */
export function pageInflater(data: unknown): (job: InflateJob) => InflatedPages {
  const windows = windowsOf(data);
  return ({ block, pages, lengths, bytes }) => {
    const window = windows[block]!;
    let at = 0;
    for (const [index, page] of pages.entries()) {
      const stream = bytes.subarray(at, at + lengths[index]!);
      at += stream.length;
      try {
        // `info` tells how much of the stream was used: what is behind its end is wrong as well.
        const { buffer, engine } = inflateSync(stream, {
          info: true,
          maxOutputLength: PAGE_SIZE,
        }) as unknown as Inflated;
        if (buffer.length !== PAGE_SIZE) throw new Error(`it expands to ${buffer.length} bytes`);
        if (engine.bytesWritten !== stream.length) throw new Error(`it ends after ${engine.bytesWritten} bytes`);
        window.markLoaded(page, 1);
        window.bytes.set(buffer, page * PAGE_SIZE);
      } catch (error) {
        return { failed: { index, why: messageOf(error) } };
      }
    }
    return { failed: undefined };
  };
}

/** What `info` makes of inflateSync's result; node's types leave it out. */
interface Inflated {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

function windowsOf(data: unknown): RamWindow[] {
  return (data as readonly RamShare[]).map((share) => new RamWindow(share)); // the pools' data, see above
}
