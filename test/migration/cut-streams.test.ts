/** A stream that was cut anywhere before EOF is an error with an offset; cut after EOF it loads. */

import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import { PRECOPY_STREAMS, type PrecopyStream } from '../support/precopy-streams.ts';
import { seeded } from '../support/seeded.ts';
import { LoadingMachine } from '../support/stream-loading.ts';
import { mapStream } from '../support/stream-map.ts';

const SMALL_BYTES = 4096;
const SEEDED_CUTS = 2000;

/** Every length of a small stream, seeded ones of a large. */
function cutsOf(stream: PrecopyStream): number[] {
  const { length } = stream.bytes;
  if (length <= SMALL_BYTES) return Array.from({ length: length + 1 }, (_, cut) => cut);
  const below = seeded(length);
  return Array.from({ length: SEEDED_CUTS }, () => below(length + 1));
}

describe.for(PRECOPY_STREAMS)('$file', (stream) => {
  const off = (name: string) => stream.off.includes(name);
  const form = { configuration: !off('send-configuration'), footers: !off('send-section-footer') };
  const { eofAt } = mapStream(stream.bytes, form);

  test('every cut ends with an offset at or below the cut', async () => {
    const machine = new LoadingMachine({ ramBytes: stream.ram.length, off: stream.off });
    const wrong: unknown[] = [];
    let slowestMs = 0;
    for (const cut of cutsOf(stream)) {
      const startMs = performance.now();
      const { error } = await machine.load(stream.bytes.subarray(0, cut));
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      if (cut > eofAt) {
        if (error !== undefined) wrong.push({ cut, error });
      } else if (!isHarnessError(error, 'stream/truncated') || error.details.at > cut || error.details.section === '') {
        wrong.push({ cut, error });
      }
    }
    expect(wrong).toEqual([]);
    expect(slowestMs).toBeLessThan(1000);
  });

  test('a whole load after a cut one gives the recorded RAM', async () => {
    const machine = new LoadingMachine({ ramBytes: stream.ram.length, off: stream.off });
    expect((await machine.load(stream.bytes.subarray(0, eofAt))).error).toBeDefined();
    expect((await machine.load(stream.bytes)).error).toBeUndefined();
    expect(Buffer.compare(machine.ram.bytes, stream.ram)).toBe(0);
  });
});
