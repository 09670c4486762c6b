/** XBZRLE delta decoder (spec/wire.md §4.4): runs of unchanged and of new bytes over the page as it is. */

import type { StreamReader } from '../transport/stream-reader.ts';

/** Where a delta came from, for errors. */
interface DeltaPlace {
  readonly reader: StreamReader;
  /** Stream offset of the delta's first byte. */
  readonly at: number;
}

/**
 * Applies `delta` to `page` in place. Throws `stream/bad-value` naming the offset inside the stream for every rule of
 * the grammar: two bytes must remain at each run, inner zero-length runs, runs past the page, literals past the delta.
 */
export function applyXbzrle(page: Uint8Array, delta: Uint8Array, place: DeltaPlace): void {
  let input = 0;
  let output = 0;
  const bad = (expected: string, actual: string) =>
    place.reader.bad({ at: place.at + input, field: 'xbzrle delta', expected, actual });
  const uleb = (what: string): number => {
    if (delta.length - input < 2) throw bad(`two more bytes for a ${what}`, `${delta.length - input}`);
    const first = delta[input++]!;
    if (first < 0x80) return first;
    const second = delta[input++]!;
    if (second >= 0x80) throw bad(`a ${what} length of at most two bytes`, 'a third');
    return (first & 0x7f) | (second << 7);
  };
  while (input < delta.length) {
    const start = input;
    const unchanged = uleb('zero run');
    if (unchanged === 0 && start !== 0) throw bad('an inner zero run of at least one byte', '0');
    output += unchanged;
    if (output > page.length) throw bad(`runs within a page of ${page.length} bytes`, `position ${output}`);
    const changed = uleb('run of new bytes');
    if (changed === 0) throw bad('a run of new bytes that is not empty', '0');
    if (output + changed > page.length)
      throw bad(`runs within a page of ${page.length} bytes`, `position ${output + changed}`);
    if (input + changed > delta.length) throw bad(`${changed} literal bytes`, `${delta.length - input}`);
    page.set(delta.subarray(input, input + changed), output);
    input += changed;
    output += changed;
  }
}
