/**
 * What can this machine and these libraries do at most? Whatever a migration does, it does not get past these: a copy in
 * memory, a socket, the zero scan, and one thread of the compressors that multifd uses, on each RAM content.
 */

import { constants, deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { RamBlock } from '../src/hw/ram.ts';
import { CONTENTS, type ContentName, sampleOf } from './support/content.ts';
import { copySpeed, socketSpeed } from './support/raw-limits.ts';
import { msPerCall, type ValueRow, valueBench } from './support/values.ts';

const SEED = 1;
const SCAN_BYTES = 512 * 1024 ** 2;
const GIGA = 1e9;
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
