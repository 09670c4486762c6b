import { expect, test } from 'vitest';
import { Bell } from '../../src/threads/bell.ts';
import { LaneReader, LaneWriter } from '../../src/threads/lane.ts';

function lane(depth = 2): { writer: LaneWriter; reader: LaneReader; bell: Bell } {
  const bell = new Bell();
  const writer = new LaneWriter({ depth, entryWords: 3, bell });
  return { writer, reader: new LaneReader(writer.share), bell };
}

function put(writer: LaneWriter, value: number): void {
  writer.claim()?.fill(value);
  writer.publish();
}

test('entries come in order, in place, and a full ring has no room until one is released', () => {
  const { writer, reader } = lane();
  put(writer, 1);
  put(writer, 2);
  expect(writer.claim()).toBeUndefined();
  expect(reader.take()).toEqual(Uint32Array.of(1, 1, 1));
  expect(writer.claim()).toBeUndefined(); // still in use
  reader.release();
  put(writer, 3);
  expect(reader.take()).toEqual(Uint32Array.of(2, 2, 2));
  reader.release();
  expect(reader.take()).toEqual(Uint32Array.of(3, 3, 3));
  reader.release();
  expect(writer.unreleased).toBe(0);
});

test('a closed lane ends after what is in it', () => {
  const { writer, reader } = lane();
  put(writer, 7);
  writer.close();
  expect(reader.take()?.[0]).toBe(7);
  reader.release();
  expect(reader.take()).toBeUndefined();
});

test('a reader that waits gets the next entry, and a release rings the bell of the writer', async () => {
  const { writer, reader, bell } = lane();
  const next = reader.takeLater();
  put(writer, 5);
  expect((await next)?.[0]).toBe(5);
  const seen = bell.count;
  const rung = bell.wait(seen, 60_000);
  reader.release();
  await rung;
  expect(bell.count).toBe(seen + 1);
});

test('the bell rings when half of the ring is free, so that its writer wakes for many entries at once', () => {
  const { writer, reader, bell } = lane(8);
  for (let n = 0; n < 8; n++) put(writer, n);
  const rings = Array.from({ length: 8 }, () => {
    const before = bell.count;
    reader.release();
    return bell.count - before;
  });
  expect(rings).toEqual([0, 0, 0, 1, 1, 1, 1, 1]);
});

test('an entry that held what somebody waits for rings at once, however full the ring is', () => {
  const { writer, reader, bell } = lane(16);
  for (let value = 0; value < 16; value++) put(writer, value);
  const seen = bell.count;
  reader.take();
  reader.release();
  expect(bell.count).toBe(seen);
  reader.take();
  reader.release(true);
  expect(bell.count).toBe(seen + 1);
});

test('what is in the ring can be summed, whatever was in it before', () => {
  const { writer, reader } = lane(4);
  for (const value of [7, 8, 9]) put(writer, value);
  expect(writer.sumUnreleased((entry) => entry[1]!)).toBe(24);
  reader.release();
  put(writer, 10);
  put(writer, 11);
  expect(writer.sumUnreleased((entry) => entry[1]!)).toBe(38);
});
