/**
 * Payloads of the live handlers besides RAM, as far as their length needs: `dirty-bitmap` (spec/wire.md §8.3) and
 * `vfio` (spec/vfio.md §2). Records are counted by kind.
 */

import type { StreamCursor } from './stream-cursor.ts';

/** Number of records by kind. */
export type RecordKinds = Readonly<Record<string, number>>;

/** Flags of a dirty-bitmap chunk; START, COMPLETE and BITS are acted on in this order. */
const BITMAP_FLAG = {
  EOS: 0x01,
  ZEROES: 0x02,
  BITMAP: 0x04,
  NODE: 0x08,
  START: 0x10,
  COMPLETE: 0x20,
  BITS: 0x40,
  MORE: 0x80,
} as const;
/** u32 granularity, u8 flags. */
const BITMAP_START_BYTES = 5;
/** u64 first sector, u32 sectors. */
const BITMAP_BITS_BYTES = 12;

/** The upper half of every word that marks a VFIO record. */
const VFIO_MAGIC = 0xffff_ffff;
const VFIO_WORD = {
  END_OF_STATE: 0xef10_0001,
  SETUP: 0xef10_0003,
  DATA: 0xef10_0004,
  INIT_DATA_SENT: 0xef10_0005,
} as const;

/** One payload of a `dirty-bitmap` section. */
export function readDirtyBitmapSection(cursor: StreamCursor): RecordKinds {
  const kinds = { start: 0, bits: 0, zeroes: 0, complete: 0 };
  for (;;) {
    const { at } = cursor;
    const flags = cursor.u8('chunk flags');
    if ((flags & BITMAP_FLAG.MORE) !== 0) {
      throw cursor.badValue({
        at,
        field: 'chunk flags',
        expected: 'one byte of flags',
        actual: `0x${flags.toString(16)}`,
      });
    }
    if ((flags & BITMAP_FLAG.NODE) !== 0) cursor.shortText('node name');
    if ((flags & BITMAP_FLAG.BITMAP) !== 0) cursor.shortText('bitmap name');
    if ((flags & BITMAP_FLAG.START) !== 0) {
      cursor.take(BITMAP_START_BYTES, 'granularity and flags');
      kinds.start += 1;
    } else if ((flags & BITMAP_FLAG.COMPLETE) !== 0) {
      kinds.complete += 1;
    } else if ((flags & BITMAP_FLAG.BITS) !== 0) {
      cursor.take(BITMAP_BITS_BYTES, 'sectors');
      if ((flags & BITMAP_FLAG.ZEROES) !== 0) kinds.zeroes += 1;
      else cursor.take(cursor.size('buffer length'), 'bitmap buffer');
      kinds.bits += 1;
    }
    if ((flags & BITMAP_FLAG.EOS) !== 0) return kinds;
  }
}

/** One payload of a `vfio` START, PART or END section. */
export function readVfioSection(cursor: StreamCursor): RecordKinds {
  const kinds = { setup: 0, data: 0, dataBytes: 0, initDataSent: 0 };
  for (;;) {
    const { at } = cursor;
    const magic = cursor.u32('VFIO record');
    const word = cursor.u32('VFIO record');
    if (magic === VFIO_MAGIC && word === VFIO_WORD.END_OF_STATE) return kinds;
    if (magic === VFIO_MAGIC && word === VFIO_WORD.SETUP) {
      kinds.setup += 1;
    } else if (magic === VFIO_MAGIC && word === VFIO_WORD.DATA) {
      const length = cursor.size('VFIO data length');
      cursor.take(length, 'VFIO data');
      kinds.data += 1;
      kinds.dataBytes += length;
    } else if (magic === VFIO_MAGIC && word === VFIO_WORD.INIT_DATA_SENT) {
      // It stands in the place of the end mark.
      kinds.initDataSent += 1;
      return kinds;
    } else {
      const actual = `0x${magic.toString(16)}${word.toString(16).padStart(8, '0')}`;
      throw cursor.badValue({ at, field: 'VFIO record', expected: 'a VFIO record word', actual });
    }
  }
}
