/** Multifd streams recorded from a real QEMU load to the recorded RAM, in whatever order the connections come. */

import { describe, expect, test } from 'vitest';
import { play, recordedMultifd } from '../../support/multifd-streams.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { tempDir } from '../../support/temp.ts';
import { WatchedVm } from '../../support/watched-vm.ts';

const RAM = recordedStream('none-4m.ram.zz');
const METHODS = ['none', 'zlib', 'zstd'] as const;
const ORDERS = [
  [0, 1, 2],
  [2, 1, 0],
  [1, 0, 2],
] as const;

describe.for(METHODS)('recorded with compression %s', (method) => {
  test.for(ORDERS)('loads with the connections in order %s', async (order) => {
    await using dir = await tempDir();
    const path = dir.file('m');
    await using waiting = await WatchedVm.start({
      ramBytes: RAM.length,
      incoming: `unix:${path}`,
      capabilities: ['multifd'],
      parameters: { 'multifd-compression': method },
    });
    waiting.vm.ram.write(0, new Uint8Array(RAM.length).fill(0x5a)); // also zero pages must really arrive
    const { main, channels } = recordedMultifd(method);
    const streams = [main, ...channels];
    const sockets = await play(
      path,
      order.map((index) => streams[index]!),
    );
    expect(await waiting.ended()).toBe('completed');
    expect(Buffer.compare(waiting.vm.ram.bytes, RAM)).toBe(0);
    for (const socket of sockets) socket.destroy();
  });
});
