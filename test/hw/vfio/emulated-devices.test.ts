/** The emulated VFIO devices: what each profile sends when, and that a destination notices everything that is wrong with it. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResourceAccount, ResourcePool } from '../../../src/hw/vfio/resource-pool.ts';
import {
  emulated,
  PROFILE_NAMES,
  type ProfileName,
  readAll,
  wholeStream,
  writeAll,
} from '../../support/emulated-pair.ts';
import { failure } from '../../support/failure.ts';

const MIB = 2 ** 20;
const HEADER = 16;
/** A record of eight bytes that tells the size of the state. */
const SIZE_RECORD = HEADER + 8;

describe('a profile', () => {
  test.each<[ProfileName, { state: number; initial: number; final: number }]>([
    ['tiny-match', { state: 120, initial: 40, final: 136 }],
    ['setup-then-state', { state: 3780, initial: 300, final: 3796 }],
    ['mlx5-like', { state: 50_000, initial: SIZE_RECORD + HEADER + 50_000, final: HEADER + 50_000 }],
    ['full-resend', { state: 50_000, initial: SIZE_RECORD + HEADER + 50_000, final: HEADER + 50_000 }],
  ])('%s: initial and final data have the sizes of the spec', async (name, { state, initial, final }) => {
    const { device } = emulated(name, { stateBytes: state });
    await device.setState('pre-copy');
    expect(device.precopyInfo()).toEqual({ initialBytes: initial, dirtyBytes: 0, reinit: false });
    expect(await readAll(device)).toHaveLength(initial);
    expect(device.precopyInfo()).toEqual({ initialBytes: 0, dirtyBytes: 0, reinit: false });
    await device.setState('stop-copy');
    expect(await readAll(device)).toHaveLength(final);
  });

  test('vgpu: little initial data, then the framebuffer as dirty data, then only what changed', async () => {
    const { device, guest } = emulated('vgpu', { stateBytes: 1_000_000, dirtyBytesPerSecond: 5_000 });
    await device.setState('pre-copy');
    const initialBytes = SIZE_RECORD + HEADER + 4096;
    expect(device.precopyInfo()).toEqual({ initialBytes, dirtyBytes: HEADER + 1_000_000, reinit: false });
    expect(await readAll(device)).toHaveLength(initialBytes + HEADER + 1_000_000);
    guest.nowMs += 1000;
    await device.setState('stop-copy');
    expect(await readAll(device)).toHaveLength(HEADER + 5_000);
  });

  test.each(PROFILE_NAMES)('%s: without precopy STOP_COPY has all of it', async (name) => {
    const [source, destination] = [emulated(name), emulated(name)];
    await source.device.setState('stop-copy');
    const stream = await readAll(source.device);
    await destination.device.setState('resuming');
    await writeAll(destination.device, stream);
    await destination.device.setState('running');
    expect(stream.length).toBeGreaterThan(source.stateBytes);
  });

  test.each(PROFILE_NAMES.flatMap((name) => (['pre-copy', 'stop-copy'] as const).map((begin) => ({ name, begin }))))(
    '$name: saved from $begin, loaded and saved again it is the same, byte for byte',
    async ({ name, begin }) => {
      const { device } = emulated(name);
      const saved = async () => {
        await device.setState(begin);
        const precopy = await readAll(device);
        await device.setState('stop-copy');
        return Buffer.concat([precopy, await readAll(device)]);
      };
      const first = await saved();
      await device.setState('resuming');
      await writeAll(device, first);
      await device.setState('running');
      expect(Buffer.compare(await saved(), first)).toBe(0);
    },
  );

  test('mlx5-like: an increment comes when one hundredth has changed, not before', async () => {
    const { device, guest } = emulated('mlx5-like', { stateBytes: MIB, dirtyBytesPerSecond: MIB / 100 });
    await device.setState('pre-copy');
    await readAll(device);
    guest.nowMs = 990;
    expect(device.precopyInfo().dirtyBytes).toBe(0);
    guest.nowMs = 1001;
    const { dirtyBytes } = device.precopyInfo();
    expect(dirtyBytes).toBeGreaterThanOrEqual(HEADER + MIB / 100);
    expect(await readAll(device)).toHaveLength(dirtyBytes);
  });

  test('full-resend: the whole state again, at most once a second, and only when something changed', async () => {
    const { device, guest } = emulated('full-resend', { stateBytes: 20_000, dirtyBytesPerSecond: 1000 });
    await device.setState('pre-copy');
    await readAll(device);
    guest.nowMs = 999;
    expect(await readAll(device)).toHaveLength(0);
    guest.nowMs = 1000;
    expect(await readAll(device)).toHaveLength(HEADER + 20_000);
    guest.nowMs = 1900;
    expect(await readAll(device)).toHaveLength(0);
    const idle = emulated('full-resend');
    await idle.device.setState('pre-copy');
    await readAll(idle.device);
    idle.guest.nowMs = 10_000;
    expect(await readAll(idle.device)).toHaveLength(0);
  });

  test('vgpu: its sizes are off by at most 30 %, both ways', async () => {
    const sizes = [0, 0.25, 0.75, 1].map((draw) => {
      const { device } = emulated('vgpu', { stateBytes: 1_000_000, random: () => draw });
      return device.stopCopyBytes() / (HEADER + 1_000_000);
    });
    expect(sizes.map((share) => share.toFixed(2))).toEqual(['0.70', '0.85', '1.15', '1.30']);
  });
});

describe('new initial data (REINIT)', () => {
  test('is told once, when its time has come, and counts as initial', async () => {
    const { device, guest } = emulated('mlx5-like', { reinitMs: 500 });
    await device.setState('pre-copy');
    await readAll(device);
    guest.nowMs = 499;
    expect(device.precopyInfo()).toMatchObject({ initialBytes: 0, reinit: false });
    guest.nowMs = 500;
    expect(device.precopyInfo()).toMatchObject({ initialBytes: HEADER + 4096, reinit: true });
    expect(device.precopyInfo()).toMatchObject({ initialBytes: HEADER + 4096, reinit: false });
    expect(await readAll(device)).toHaveLength(HEADER + 4096);
    expect(device.precopyInfo()).toMatchObject({ initialBytes: 0, reinit: false });
  });
});

describe('a saving session', () => {
  test('gives bulk data in shared memory of its own, which nothing changes, and leaves a spare alone', async () => {
    const { device } = emulated('mlx5-like', { stateBytes: 3 * MIB });
    await device.setState('pre-copy');
    await device.read(MIB);
    const spare = new SharedArrayBuffer(MIB);
    const { bytes: first } = await device.read(MIB, spare);
    const before = Buffer.from(first);
    const { bytes: second } = await device.read(MIB, spare);
    expect(first.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(second.buffer).toBe(first.buffer);
    expect(Buffer.compare(before, first)).toBe(0);
    expect(new Uint8Array(spare).every((byte) => byte === 0)).toBe(true);
  });

  test('that was left begins anew', async () => {
    const { device } = emulated('mlx5-like');
    await device.setState('pre-copy');
    const { initialBytes } = device.precopyInfo();
    const { bytes } = await device.read(1000);
    await device.setState('pre-copy-p2p');
    expect(device.precopyInfo().initialBytes).toBe(initialBytes - bytes.length);
    await device.setState('running');
    await device.setState('pre-copy');
    expect(device.precopyInfo().initialBytes).toBe(initialBytes);
  });
});

describe('a destination', () => {
  test('takes any migration, however its bytes are cut and whenever the guest stops', async () => {
    const pieceBytes = fc.integer({ min: 1, max: 200_000 });
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          name: fc.constantFrom(...PROFILE_NAMES),
          stateBytes: fc.integer({ min: 1, max: 100_000 }),
          dirtyBytesPerSecond: fc.integer({ min: 0, max: 1_000_000 }),
          isAsync: fc.boolean(),
          reinitMs: fc.nat({ max: 2000 }),
          rounds: fc.array(fc.record({ ms: fc.nat({ max: 1500 }), reads: fc.nat({ max: 6 }), bytes: pieceBytes })),
          written: pieceBytes,
        }),
        async ({ name, rounds, written, ...options }) => {
          const [source, destination] = [emulated(name, options), emulated(name, options)];
          await destination.device.setState('resuming');
          await source.device.setState('pre-copy');
          const pieces: Uint8Array[] = [];
          for (const { ms, reads, bytes } of rounds) {
            source.guest.nowMs += ms;
            source.device.precopyInfo();
            for (let n = 0; n < reads; n += 1) pieces.push((await source.device.read(bytes)).bytes);
          }
          await source.device.setState('stop-copy');
          pieces.push(await readAll(source.device, written));
          await writeAll(destination.device, Buffer.concat(pieces), Math.max(written, 500));
          await destination.device.setState('running');
        },
      ),
      { numRuns: 150 },
    );
  });

  test('refuses a stream with any bit turned, at a write or at the integrity check', async () => {
    const streams = new Map<ProfileName, Buffer>();
    for (const name of PROFILE_NAMES) streams.set(name, await wholeStream(name, { stateBytes: 700 }));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...PROFILE_NAMES), fc.nat(), fc.nat({ max: 7 }), async (name, spot, bit) => {
        const stream = Buffer.from(streams.get(name)!);
        const at = spot % stream.length;
        // The size that is announced is advice: a smaller one is no error.
        if (stream.readUInt32LE(12) === 3) fc.pre(at < HEADER || at >= SIZE_RECORD);
        stream[at]! ^= 1 << bit;
        const { device } = emulated(name, { stateBytes: 700 });
        await device.setState('resuming');
        const error = (await failure(writeAll(device, stream))) ?? (await failure(device.setState('stop')));
        expect(error).toMatchObject({ code: expect.stringMatching(/^vfio\/(data|arc)$/) });
      }),
      { numRuns: 500 },
    );
  });

  test.each(PROFILE_NAMES)(
    '%s: a stream cut anywhere fails the integrity check, and only a reset helps',
    async (name) => {
      const stream = await wholeStream(name, { stateBytes: 200 });
      for (let length = 0; length < stream.length; length += 7) {
        const { device } = emulated(name, { stateBytes: 200 });
        await device.setState('resuming');
        await writeAll(device, stream.subarray(0, length));
        expect(await failure(device.setState('stop'))).toMatchObject({ code: 'vfio/arc', details: { now: 'error' } });
        await device.reset();
        expect(device.state).toBe('running');
      }
    },
  );

  test.each(PROFILE_NAMES)('%s: bytes after the last record are refused', async (name) => {
    const stream = await wholeStream(name, { stateBytes: 200 });
    const { device } = emulated(name, { stateBytes: 200 });
    await device.setState('resuming');
    await writeAll(device, stream);
    const error = (await failure(device.write(new Uint8Array(16)))) ?? (await failure(device.setState('stop')));
    expect(error).toMatchObject({ code: 'vfio/data', details: { at: stream.length + 16, field: 'record header' } });
  });

  test('refuses a record that was lost on the way', async () => {
    const stream = await wholeStream('mlx5-like', { stateBytes: 200 });
    const { device } = emulated('mlx5-like', { stateBytes: 200 });
    await device.setState('resuming');
    const error = await failure(device.write(stream.subarray(SIZE_RECORD)));
    expect(error).toMatchObject({ details: { expected: 'record 0', actual: 'record 1' } });
  });

  test('refuses two pieces of a round size that have changed places', async () => {
    const stream = await wholeStream('mlx5-like', { stateBytes: 3 * MIB });
    const { device } = emulated('mlx5-like', { stateBytes: 3 * MIB });
    await device.setState('resuming');
    const image = SIZE_RECORD + HEADER;
    await device.write(stream.subarray(0, image));
    expect(await failure(device.write(stream.subarray(image + MIB, image + 2 * MIB)))).toMatchObject({
      code: 'vfio/data',
    });
  });

  test.each([
    ['takes', 0],
    ['refuses, when a bit is turned,', 1],
  ])('%s bytes that were put into its memory already', async (_what, turned) => {
    const stream = await wholeStream('mlx5-like', { stateBytes: MIB });
    const { device, memory } = emulated('mlx5-like', { stateBytes: MIB });
    await device.setState('resuming');
    expect(device.landing).toBeUndefined();
    const image = SIZE_RECORD + HEADER;
    await device.write(stream.subarray(0, image + 100));
    const { landing } = device;
    expect(landing?.at).toBe(image);
    landing?.memory.set(stream.subarray(image + 100, image + MIB), 100);
    memory.bytes[2000]! ^= turned;
    const error = await failure(device.write(memory.bytes.subarray(100, MIB)));
    expect(error).toEqual(turned === 0 ? undefined : expect.objectContaining({ code: 'vfio/data' }));
  });

  test('tiny-match: looks at what must match as soon as it is in', async () => {
    const stream = await wholeStream('tiny-match');
    stream[20]! ^= 0xff;
    const { device } = emulated('tiny-match');
    await device.setState('resuming');
    await device.write(stream.subarray(0, 20));
    const error = await failure(device.write(stream.subarray(20, 21)));
    expect(error).toMatchObject({ code: 'vfio/data', details: { device: 'd0', at: 20, field: 'MATCH at 4' } });
  });

  test('with another seed it is another device: refused at the first byte of contents', async () => {
    const stream = await wholeStream('setup-then-state', { seed: 1 });
    const { device } = emulated('setup-then-state', { seed: 2 });
    await device.setState('resuming');
    expect(await failure(writeAll(device, stream))).toMatchObject({ details: { field: 'SETUP at 0' } });
  });

  test('a size over its own state is refused before anything is allocated', async () => {
    const stream = await wholeStream('mlx5-like', { stateBytes: 2 * MIB });
    const taken: number[] = [];
    const resources = { take: (bytes: number) => void taken.push(bytes), giveBack: () => {} };
    const { device } = emulated('mlx5-like', { stateBytes: MIB, resources });
    await device.setState('resuming');
    const error = await failure(device.write(stream.subarray(0, SIZE_RECORD)));
    expect(error).toMatchObject({ details: { field: 'STOP_COPY_SIZE', actual: `${2 * MIB}` } });
    expect(taken).toEqual([]);
  });
});

describe('allocation', () => {
  const sizeRecord = async (stateBytes: number) =>
    (await wholeStream('mlx5-like', { stateBytes })).subarray(0, SIZE_RECORD);

  test('takes its time in the write that announces the size, and really allocates', async () => {
    const { device, memory } = emulated('mlx5-like', { stateBytes: 4 * MIB, allocMsPerMiB: 5 });
    await device.setState('resuming');
    const startMs = performance.now();
    await device.write(await sizeRecord(4 * MIB));
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(20);
    expect(memory.bytes).toHaveLength(4 * MIB);
    expect(memory.bytes.every((byte) => byte === 1)).toBe(true);
  });

  test('behind the write: the device is ready later, not when the bytes are in', async () => {
    const { device, memory } = emulated('mlx5-like', { stateBytes: 4 * MIB, allocMsPerMiB: 5, isAsync: true });
    await device.setState('resuming');
    const startMs = performance.now();
    await device.write(await sizeRecord(4 * MIB));
    expect(memory.bytes).toHaveLength(0);
    await device.ready();
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(19); // timers fire up to 1 ms early
    expect(memory.bytes).toHaveLength(4 * MIB);
  });

  test('that goes on when the device is reset is let go', async () => {
    const { device, memory } = emulated('mlx5-like', { stateBytes: 2 * MIB, allocMsPerMiB: 1, isAsync: true });
    await device.setState('resuming');
    await device.write(await sizeRecord(2 * MIB));
    const ready = device.ready();
    await device.reset();
    await ready;
    expect(memory.bytes).toHaveLength(0);
  });

  test('from an exhausted pool is refused with the figures, and a reset gives back', async () => {
    const { share } = new ResourcePool({ limitBytes: 5 * MIB, deviceCount: 2 });
    const accounts = [0, 1].map((index) => new ResourceAccount({ share, index, device: `d${index}` }));
    const [first, second] = accounts.map((resources) => emulated('mlx5-like', { stateBytes: 3 * MIB, resources }));
    await Promise.all([first!.device.setState('resuming'), second!.device.setState('resuming')]);
    await first!.device.write(await sizeRecord(3 * MIB));
    expect(await failure(second!.device.write(await sizeRecord(3 * MIB)))).toMatchObject({
      code: 'vfio/resources',
      details: { device: 'd1', bytes: 3 * MIB, leftBytes: 2 * MIB, limitBytes: 5 * MIB },
    });
    expect(accounts.map(({ usedBytes }) => usedBytes)).toEqual([3 * MIB, 0]);
    await first!.device.reset();
    await second!.device.reset();
    await second!.device.setState('resuming');
    await second!.device.write(await sizeRecord(3 * MIB));
    expect(accounts.map(({ usedBytes }) => usedBytes)).toEqual([0, 3 * MIB]);
  });
});
