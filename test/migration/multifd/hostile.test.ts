/**
 * Recorded multifd streams, cut anywhere and with single bytes changed: an error of ours that says where, or a load;
 * never a crash, a hang, or memory that stays. Some hundreds of each by default; with SWITCHOVER_HOSTILE=full every cut
 * and 10,000 changes of each, which takes minutes; SWITCHOVER_HOSTILE=full:3/20 is the third of twenty parts of that.
 */

import { describe, expect, test } from 'vitest';
import type { MultifdMethod } from '../../../src/migration/multifd/compression.ts';
import { MULTIFD_HELLO, RAM_PACKET_BYTES } from '../../../src/wire/multifd.ts';
import { changed, EXTENT, loadAll } from '../../support/hostile-loading.ts';
import { MultifdLoadingMachine } from '../../support/multifd-loading.ts';
import { packetsOf, recordedMultifd } from '../../support/multifd-streams.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { seeded } from '../../support/seeded.ts';

const RAM = recordedStream('none-4m.ram.zz');
const METHODS: readonly MultifdMethod[] = ['none', 'zlib', 'zstd'];

describe.for(METHODS)('recorded with compression %s', (method) => {
  const { main, channels } = recordedMultifd(method);
  const connections = [main, ...channels];
  const headers = [undefined, ...channels.map(headersOf)];

  test('the whole is loaded in small pieces', async () => {
    const machine = new MultifdLoadingMachine({ ramBytes: RAM.length, method });
    const below = seeded(3);
    expect(await machine.load(connections, () => 1 + below(700))).toBeUndefined();
    expect(Buffer.compare(machine.ram.bytes, RAM)).toBe(0);
  });

  test('every cut in a channel before its last SYNC ends is an error', { timeout: EXTENT.longMs }, async () => {
    const machine = new MultifdLoadingMachine({ ramBytes: RAM.length, method });
    const below = seeded(1);
    function* cuts() {
      for (const [index, channel] of channels.entries()) {
        for (let cut = below(EXTENT.cutsShare); cut < channel.length; cut += 1 + below(2 * EXTENT.cutsShare - 1)) {
          const cutConnections = changed(connections, index + 1, channel.subarray(0, cut));
          yield { name: `channel ${index} at ${cut}`, connections: cutConnections };
        }
      }
    }
    const { loaded, foreign, refused } = await loadAll(machine, cuts());
    expect(foreign).toEqual([]);
    expect(loaded).toEqual([]);
    expect(refused).toBeGreaterThan(EXTENT.isFull ? 25_000 / EXTENT.parts : 100);
  });

  test('every cut of the main channel before EOF is an error', async () => {
    const machine = new MultifdLoadingMachine({ ramBytes: RAM.length, method });
    const eofAt = Buffer.from(main).indexOf(Buffer.from('globalstate')) + 'globalstate'.length + 8 + 104 + 5;
    expect(main[eofAt]).toBe(0);
    const cuts = Array.from({ length: eofAt + 1 }, (_, cut) => ({
      name: `main at ${cut}`,
      connections: changed(connections, 0, main.subarray(0, cut)),
    })).filter((_, cut) => EXTENT.isFull || cut % 7 === 0 || cut === eofAt);
    const { loaded, foreign } = await loadAll(machine, cuts);
    expect(foreign).toEqual([]);
    expect(loaded).toEqual([]);
  });

  test('corrupted bytes are errors or other RAM, and cost no memory', { timeout: EXTENT.longMs }, async () => {
    const machine = new MultifdLoadingMachine({ ramBytes: RAM.length, method });
    const below = seeded(main.length);
    function* corruptions() {
      for (let n = 0; n < EXTENT.corruptions; n++) {
        const index = below(connections.length);
        const bytes = connections[index]!.slice();
        const at = place(bytes, headers[index], below);
        const value = bytes[at]! ^ (1 + below(255));
        bytes[at] = value;
        yield { name: `connection ${index}, byte ${at} = ${value}`, connections: changed(connections, index, bytes) };
      }
    }
    const { loaded, foreign, refused } = await loadAll(machine, corruptions());
    expect(foreign).toEqual([]);
    expect(loaded.length).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(EXTENT.corruptions / 10 / EXTENT.parts);
  });
});

/** Most of a channel is data and unused table: every other time a byte of a packet's first 80. */
function place(bytes: Uint8Array, headers: readonly number[] | undefined, below: (limit: number) => number): number {
  if (headers === undefined || below(2) === 0) return below(bytes.length);
  return headers[below(headers.length)]! + below(80);
}

/** Where the packets of a channel begin. */
function headersOf(channel: Uint8Array): number[] {
  const starts: number[] = [];
  let at: number = MULTIFD_HELLO.size;
  for (const packet of packetsOf(channel)) {
    starts.push(at);
    at += RAM_PACKET_BYTES + packet.data.length;
  }
  return starts;
}
