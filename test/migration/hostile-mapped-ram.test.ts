/**
 * mapped-ram files whose block list, header and bitmap were made hostile: the load ends at once, in other RAM or in an error
 * of ours that says where; never in a crash, a hang, or memory that stays. Some hundreds by default, thousands with
 * SWITCHOVER_HOSTILE=full.
 */

import { describe, expect, test } from 'vitest';
import { MAPPED_RAM_HEADER, mappedBitmapBytes } from '../../src/wire/mapped-ram.ts';
import { EXTENT, loadAll } from '../support/hostile-loading.ts';
import { MappedLoadingMachine } from '../support/mapped-loading.ts';
import { type Chance, changeField } from '../support/mutations.ts';
import { recordedStream } from '../support/recorded-stream.ts';
import { seeded } from '../support/seeded.ts';
import { type FieldSpan, spansOf } from '../support/struct-spans.ts';

const MIB = 1 << 20;
const RAM_BYTES = 4 * MIB;
const recorded = new Uint8Array(recordedStream('none-4m-mapped-ram.file.gz'));
/** Where the recorded file has what. */
const TOTAL = 81;
const NAME = TOTAL + 8;
const HEADER = 101;
const BITMAP = HEADER + MAPPED_RAM_HEADER.size;
/** Where its stream goes on behind the pages. */
const RESUMES = 5 * MIB;

const FIELDS: readonly FieldSpan[] = [
  { name: 'total', at: TOTAL, length: 8 },
  { name: 'name length', at: NAME, length: 1 },
  { name: 'name', at: NAME + 1, length: 3 },
  { name: 'block length', at: HEADER - 8, length: 8 },
  ...spansOf(MAPPED_RAM_HEADER, HEADER),
  { name: 'bitmap', at: BITMAP, length: mappedBitmapBytes(RAM_BYTES / 4096) },
];

describe.for([1, 4])('%i handles', (handles) => {
  const machine = new MappedLoadingMachine({ ramBytes: RAM_BYTES, handles });

  test('hostile fields', { timeout: EXTENT.longMs }, async () => {
    const below = seeded(900 + handles);
    function* variants() {
      for (let n = 0; n < EXTENT.corruptions; n++) {
        const bytes = Buffer.from(recorded);
        const what = Array.from({ length: 1 + below(2) }, () =>
          changeField(bytes, FIELDS[below(FIELDS.length)]!, below),
        );
        const length = below(4) === 0 ? somewhere(below) : bytes.length;
        yield { name: `${n}: ${what.join(', ')}, ${length} bytes`, connections: bytes.subarray(0, length) };
      }
    }
    const placeless: string[] = [];
    const { loaded, foreign, refused } = await loadAll(machine, variants(), ({ name, error }) => {
      const { at, field } = error.details as { at?: number; field?: string };
      if (typeof at !== 'number' || at < 0 || field === undefined) placeless.push(`${name}: ${error.message}`);
    });
    expect(foreign).toEqual([]);
    expect(placeless).toEqual([]);
    expect(loaded.length).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(EXTENT.corruptions / 2 / EXTENT.parts);
  });

  test('pages before their header would bring the stream back to it: an error, not a hang', async () => {
    const bytes = Buffer.from(recorded);
    const list = Buffer.concat([u64(RAM_BYTES + 4), Buffer.from('\x03ram'), u64(RAM_BYTES)]);
    const header = MAPPED_RAM_HEADER.encode({
      version: 1,
      page_size: 4096n,
      bitmap_offset: BigInt(2 * MIB),
      pages_offset: BigInt(RESUMES - RAM_BYTES),
    });
    // In the file's own first section: where the stream goes on, the same list stands again, and leads to itself.
    bytes.set(Buffer.concat([list, header]), RESUMES);
    expect(await machine.load(bytes)).toMatchObject({
      code: 'stream/bad-value',
      details: { at: RESUMES + list.length + 20, field: "pages offset of block 'ram'", actual: `${MIB}` },
    });
  });
});

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** In the headers, among the pages, or in what follows them. */
function somewhere(below: Chance): number {
  return [below(BITMAP + 128), below(RESUMES), RESUMES + below(recorded.length - RESUMES)][below(3)]!;
}
