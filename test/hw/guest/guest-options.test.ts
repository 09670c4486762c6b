import { describe, expect, test } from 'vitest';
import { guestRegion, parseGuestOption } from '../../../src/hw/guest/guest-options.ts';

const MiB = 1024 * 1024;

test('an object has its program, id, rate, region and seed', () => {
  expect(parseGuestOption('guest-sweep,id=g0,rate=50MiB,start=1MiB,size=64MiB,seed=7')).toEqual({
    id: 'g0',
    name: 'sweep',
    rateBytes: 50 * MiB,
    startByte: MiB,
    sizeBytes: 64 * MiB,
    seed: 7,
    settings: {},
  });
});

test('the short form takes the id it is given and may leave out everything', () => {
  expect(parseGuestOption('hot-set', 'guest0')).toEqual({
    id: 'guest0',
    name: 'hot-set',
    rateBytes: 0,
    startByte: 0,
    sizeBytes: 0,
    seed: 0,
    settings: { bytes: 4096, hot: 16 * MiB, share: 90 },
  });
});

test('settings of a program are read as sizes, times and counts', () => {
  expect(parseGuestOption('bursts,burst=8MiB,quiet=2s,bytes=64', 'g').settings).toEqual({
    bytes: 64,
    burst: 8 * MiB,
    quiet: 2000,
  });
});

describe('an error names the key', () => {
  test.each([
    ['guest-sweep,rate=1MiB', 'guest-sweep.id'],
    ['guest-nap,id=g', 'guest'],
    ['guest-sweep,id=g,speed=1', 'guest-sweep.speed'],
    ['guest-sweep,id=g,id=h', 'guest-sweep.id'],
    ['guest-sweep,id=g,rate=fast', 'guest-sweep.rate'],
    ['guest-sweep,id=g,start=100', 'guest-sweep.start'],
    ['guest-sweep,id=g,seed=-1', 'guest-sweep.seed'],
    ['guest-hot-set,id=g,share=101', 'guest-hot-set.share'],
    ['guest-hot-set,id=g,hot=5000', 'guest-hot-set.hot'],
    ['guest-random-writes,id=g,bytes=24', 'guest-random-writes.bytes'],
    ['guest-bursts,id=g,quiet=soon', 'guest-bursts.quiet'],
    ['guest-sweep,id=g,rate', 'guest-sweep'],
  ])('%s → %s', (text, option) => {
    expect(() => parseGuestOption(text)).toThrow(
      expect.objectContaining({ code: 'option/bad-value', details: expect.objectContaining({ option }) }),
    );
  });
});

test('a region without a size reaches to the end of RAM, and must lie inside of it', () => {
  expect(guestRegion(parseGuestOption('sweep,start=1MiB', 'g'), 4 * MiB)).toEqual({
    startByte: MiB,
    sizeBytes: 3 * MiB,
  });
  expect(() => guestRegion(parseGuestOption('sweep,start=4MiB', 'g'), 4 * MiB)).toThrow(/guest-sweep\.size/);
  expect(() => guestRegion(parseGuestOption('sweep,start=1MiB,size=4MiB', 'g'), 4 * MiB)).toThrow(/guest-sweep\.size/);
});
