/** Kernel over the staging buffer of an incoming stream (AssemblyScript, 32-bit memory; see stream-reader.ts). */

const PAGE_SHIFT: u64 = 12;
const FLAG_ZERO: u64 = 0x02;
const FLAG_CONTINUE: u64 = 0x20;
const ZERO_RECORD_BYTES: u32 = 9;

/**
 * How many zero-page records of the same block (spec/wire.md §4.1: CONTINUE, fill byte 0) stand at `at`, for `page`,
 * `page` + 1, … in order; at most `limit`, none of them reaching beyond `end`.
 */
export function zeroRun(at: u32, end: u32, page: f64, limit: f64): f64 {
  let next = <u64>page;
  const last = next + <u64>limit;
  let position = at;
  while (next < last && position + ZERO_RECORD_BYTES <= end) {
    if (bswap<u64>(load<u64>(position)) != ((next << PAGE_SHIFT) | FLAG_ZERO | FLAG_CONTINUE)) break;
    if (load<u8>(position, 8) != 0) break;
    position += ZERO_RECORD_BYTES;
    next++;
  }
  return <f64>(next - <u64>page);
}
