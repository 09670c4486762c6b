/** The loader does not care how a stream is cut into reads: from one byte at a time to everything at once. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { precopyStream } from '../support/precopy-streams.ts';
import { LoadingMachine } from '../support/stream-loading.ts';

const STREAMS = ['none-1m-file.main', 'none-1m-oldformat.main', 'none-1m-pre10.main', 'none-4m-return-path.main'];

describe.for(STREAMS)('%s', (file) => {
  const stream = precopyStream(file);
  const machine = new LoadingMachine({ ramBytes: stream.ram.length, off: stream.off });

  async function expectSameLoad(chunks: readonly number[]): Promise<void> {
    machine.ram.write(0, new Uint8Array(stream.ram.length).fill(0x5a));
    let next = 0;
    const { error, returnPath } = await machine.load(stream.bytes, () => chunks[next++ % chunks.length]!);
    expect(error).toBeUndefined();
    expect(Buffer.compare(machine.ram.bytes, stream.ram)).toBe(0);
    expect(Buffer.from(returnPath).toString('hex')).toBe(stream.returnPath);
  }

  test.for([1, 2, 7, 8, 9, 4095, 4096, 4097, 65_536, 1 << 20])('chunks of %i bytes', (size) => expectSameLoad([size]));

  test('chunks of any sizes', async () => {
    const small = fc.integer({ min: 1, max: 24 });
    const any = fc.integer({ min: 1, max: 3 * 4096 });
    const sizes = fc.array(fc.oneof(small, any), { minLength: 1, maxLength: 40 });
    await fc.assert(fc.asyncProperty(sizes, expectSameLoad), { numRuns: 60, seed: 20 });
  });

  test('an error is the same however the stream arrives', async () => {
    const cut = stream.bytes.subarray(0, Math.floor(stream.bytes.length / 2));
    const whole = await machine.load(cut);
    const bytewise = await machine.load(cut, () => 1);
    expect(whole.error).toBeDefined();
    expect(bytewise.error).toEqual(whole.error);
  });
});
