/** Payloads of RAM sections in any page order, and the RAM they must give: a reference that decodes nothing. */

import { PAGE_SIZE, RAM_FLAG } from '../../src/wire/ram.ts';
import { ByteWriter } from '../../src/wire/writer.ts';

/** A run of page records: `count` pages of a block upwards from `page`, data with `fill` in every byte, or zero pages. */
export interface PageRun {
  readonly block: string;
  readonly page: number;
  readonly count: number;
  /** 0: zero records. */
  readonly fill: number;
  /** Data pages are stamped with this, so that no two runs are alike. */
  readonly stamp: number;
}

/** One payload, end marker included. */
export function ramPayload(runs: readonly PageRun[]): Uint8Array {
  const writer = new ByteWriter();
  let previous: string | undefined;
  for (const run of runs) {
    for (let page = run.page; page < run.page + run.count; page++) {
      const kind = run.fill === 0 ? RAM_FLAG.ZERO : RAM_FLAG.PAGE;
      const flags = kind | (run.block === previous ? RAM_FLAG.CONTINUE : 0);
      writer.u64(BigInt(page * PAGE_SIZE + flags));
      if (run.block !== previous) writer.text8(run.block);
      previous = run.block;
      if (run.fill === 0) writer.u8(0);
      else writer.bytes(pageContent(run, page));
    }
  }
  return writer.u64(BigInt(RAM_FLAG.EOS)).take();
}

/** What RAM holds after the runs, block by block, and which pages were ever stored. */
export function expectedRam(
  runs: readonly PageRun[],
  blocks: Readonly<Record<string, number>>,
): Map<string, { bytes: Uint8Array; stored: Set<number> }> {
  const result = new Map(
    Object.entries(blocks).map(([name, length]) => [
      name,
      { bytes: new Uint8Array(length), stored: new Set<number>() },
    ]),
  );
  for (const run of runs) {
    const block = result.get(run.block);
    if (block === undefined) throw new Error(`no block ${run.block}`);
    for (let page = run.page; page < run.page + run.count; page++) {
      if (run.fill === 0) block.bytes.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      else {
        block.bytes.set(pageContent(run, page), page * PAGE_SIZE);
        block.stored.add(page);
      }
    }
  }
  return result;
}

function pageContent(run: PageRun, page: number): Uint8Array {
  const content = new Uint8Array(PAGE_SIZE).fill(run.fill);
  new DataView(content.buffer).setUint32(0, page);
  new DataView(content.buffer).setUint32(PAGE_SIZE - 4, run.stamp);
  return content;
}
