/**
 * What can this machine and these libraries do at most? Whatever a migration does, it does not get past these: a copy in
 * memory, a socket, the zero scan, and one thread of the compressors that multifd uses, on each RAM content.
 */

import { constants, deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { RamBlock } from '../src/hw/ram.ts';
import { XbzrleCache } from '../src/migration/ram/xbzrle-cache.ts';
import { PAGE_SIZE } from '../src/wire/ram.ts';
import { CONTENTS, type ContentName, sampleOf } from './support/content.ts';
import { copySpeed, socketSpeed } from './support/raw-limits.ts';
import { msPerCall, type ValueRow, valueBench } from './support/values.ts';

const SEED = 1;
const SCAN_BYTES = 512 * 1024 ** 2;
const GIGA = 1e9;
/** Pages that are encoded against what they were: more than a processor's cache holds. */
const DELTA_PAGES = 8192;
const CHANGED_BYTES = Math.round(PAGE_SIZE * 0.05);
const CODECS = {
  zlib1: {
    compress: (bytes: Buffer) => deflateSync(bytes, { level: 1 }),
    decompress: (bytes: Buffer) => inflateSync(bytes),
  },
  zstd1: {
    compress: (bytes: Buffer) => zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
    decompress: (bytes: Buffer) => zstdDecompressSync(bytes),
  },
} as const;

/** The benchmark behind `npm run bench -- limits`. */
export const limitsBench = valueBench({
  question: 'what this machine and the libraries can do at most, one thread each',
  rows: {
    'memory-copy': { unit: 'GB/s', measure: () => copySpeed() / GIGA },
    'zero-scan': { unit: 'GB/s', measure: zeroScanSpeed },
    'xbzrle-encode-run': { unit: 'GB/s', bar: { atLeast: 2 }, measure: () => xbzrleSpeed('run') },
    'xbzrle-encode-scattered': { unit: 'GB/s', bar: { atLeast: 2 }, measure: () => xbzrleSpeed('scattered') },
    'socket-tcp': { unit: 'GB/s', measure: async () => (await socketSpeed('tcp')) / GIGA },
    'socket-unix': { unit: 'GB/s', measure: async () => (await socketSpeed('unix')) / GIGA },
    ...codecRows(),
  },
});

function codecRows(): Record<string, ValueRow> {
  const rows: Record<string, ValueRow> = {};
  for (const content of Object.keys(CONTENTS) as ContentName[]) {
    for (const [codec, { compress, decompress }] of Object.entries(CODECS)) {
      rows[`${codec}-${content}`] = { unit: 'GB/s', measure: () => speedOf(content, (plain) => () => compress(plain)) };
      const unpacking = (plain: Buffer) => {
        const packed = compress(plain);
        return () => decompress(packed);
      };
      rows[`un${codec}-${content}`] = { unit: 'GB/s', measure: () => speedOf(content, unpacking) };
    }
  }
  return rows;
}

/** GB/s of plain bytes of the work that `prepare` makes of a sample. */
function speedOf(content: ContentName, prepare: (plain: Buffer) => () => void): number {
  const plain = sampleOf(content, SEED);
  return plain.length / (msPerCall(prepare(plain)) / 1000) / GIGA;
}

let scanned: RamBlock | undefined;

/** GB/s of the first pass over RAM that was written with zeros. */
function zeroScanSpeed(): number {
  if (scanned === undefined) {
    scanned = RamBlock.create({ name: 'scanned', length: SCAN_BYTES });
    scanned.write(0, new Uint8Array(SCAN_BYTES));
  }
  const ram = scanned;
  ram.beginSave();
  const start = performance.now();
  for (let page = 0; page < ram.pageCount; ) {
    page = ram.takePages({ firstPage: page, maxPages: ram.pageCount, detectZero: true }).nextPage;
  }
  const seconds = (performance.now() - start) / 1000;
  ram.endSave();
  return SCAN_BYTES / seconds / GIGA;
}

/** GB/s of pages that become deltas, copies of page and cache included, when 5 % of each changed: in one run, or every 20th byte. */
function xbzrleSpeed(where: 'run' | 'scattered'): number {
  const before = sampleOf('random', SEED).subarray(0, DELTA_PAGES * PAGE_SIZE);
  const after = Buffer.from(before);
  for (let page = 0; page < before.length; page += PAGE_SIZE) {
    for (let n = 0; n < CHANGED_BYTES; n++) {
      const at = page + (where === 'run' ? ((page >> 12) % (PAGE_SIZE - CHANGED_BYTES)) + n : n * 20);
      after[at] = before[at]! ^ 0xff;
    }
  }
  const cache = new XbzrleCache({ bytes: BigInt(before.length), ramPages: before.length / PAGE_SIZE });
  const pass = (content: Buffer, kind: string, age: number) => {
    for (let at = 0; at < content.length; at += PAGE_SIZE) {
      const found = cache.lookUp(at / PAGE_SIZE, content.subarray(at, at + PAGE_SIZE), { age, isLast: false });
      if (found.kind !== kind) throw new Error(`a page was to be a ${kind} and is a ${found.kind}`);
    }
  };
  pass(before, 'miss', 0);
  const start = performance.now();
  pass(after, 'delta', 1);
  pass(before, 'delta', 2);
  return (2 * before.length) / ((performance.now() - start) / 1000) / GIGA;
}
