/**
 * 10,000 seeded single-byte corruptions of recorded streams: an error of ours with an offset or a load whose result is
 * what the bytes say; never a crash, a hang, or memory that stays. Half of them spare page data, which is most of a stream.
 */

import { expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import { PRECOPY_STREAMS, type PrecopyStream } from '../support/precopy-streams.ts';
import { seeded } from '../support/seeded.ts';
import { LoadingMachine } from '../support/stream-loading.ts';
import { mapStream, type StreamMap } from '../support/stream-map.ts';

const CORRUPTIONS = 10_000;
const PER_STREAM = Math.ceil(CORRUPTIONS / PRECOPY_STREAMS.length);
const SLOW_MS = 1000;
/** Room for garbage that was not collected yet. */
const GROWTH_BYTES = 96 << 20;

interface Corruption {
  readonly at: number;
  readonly value: number;
  readonly bytes: Uint8Array;
}

function corrupt(stream: PrecopyStream, map: StreamMap, below: (limit: number) => number): Corruption {
  const sparePages = below(2) === 0;
  let at = below(stream.bytes.length);
  while (sparePages && map.classes[at] === 'page') at = below(stream.bytes.length);
  const value = stream.bytes[at]! ^ (1 + below(255));
  const bytes = stream.bytes.slice();
  bytes[at] = value;
  return { at, value, bytes };
}

/** What is wrong with how a corrupted stream ended; undefined when nothing is. */
function judge(
  options: { stream: PrecopyStream; map: StreamMap; ram: Uint8Array },
  { at, value, bytes }: Corruption,
  error: unknown,
): string | undefined {
  const { stream, map, ram } = options;
  const byteClass = map.classes[at];
  if (error !== undefined) {
    if (!isHarnessError(error)) return `a foreign error: ${error}`;
    if (byteClass === 'page' || byteClass === 'value') return `refused a byte that may be anything: ${error.message}`;
    const place = 'at' in error.details ? error.details.at : undefined;
    return typeof place === 'number' && place <= bytes.length ? undefined : `no offset: ${error.message}`;
  }
  if (byteClass === 'strict') return 'loaded';
  if (byteClass === 'word') return undefined;
  const expected = stream.ram;
  if (byteClass === 'value') return Buffer.compare(ram, expected) === 0 ? undefined : 'other RAM';
  const place = map.ramOffset(at);
  const same =
    ram[place] === value &&
    Buffer.compare(ram.subarray(0, place), expected.subarray(0, place)) === 0 &&
    Buffer.compare(ram.subarray(place + 1), expected.subarray(place + 1)) === 0;
  return same ? undefined : 'RAM differs in more than the byte';
}

test.for(PRECOPY_STREAMS)('%# $file', async (stream) => {
  const off = (name: string) => stream.off.includes(name);
  const form = { configuration: !off('send-configuration'), footers: !off('send-section-footer') };
  const map = mapStream(stream.bytes, form);
  const machine = new LoadingMachine({ ramBytes: stream.ram.length, off: stream.off });
  const below = seeded(stream.bytes.length + 1);
  const wrong: unknown[] = [];
  const seen = { loaded: 0, refused: 0 };
  let slowestMs = 0;
  let rssAtStart = 0;
  for (let n = 0; n < PER_STREAM; n++) {
    if (n === 200) rssAtStart = process.memoryUsage().rss;
    const corruption = corrupt(stream, map, below);
    const startMs = performance.now();
    const { error } = await machine.load(corruption.bytes);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    seen[error === undefined ? 'loaded' : 'refused'] += 1;
    const what = judge({ stream, map, ram: machine.ram.bytes }, corruption, error);
    if (what !== undefined) wrong.push({ at: corruption.at, value: corruption.value, what });
  }
  expect(wrong).toEqual([]);
  expect(seen.loaded).toBeGreaterThan(0);
  expect(seen.refused).toBeGreaterThan(0);
  expect(slowestMs).toBeLessThan(SLOW_MS);
  expect(process.memoryUsage().rss - rssAtStart).toBeLessThan(GROWTH_BYTES);
});
