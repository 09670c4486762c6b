/**
 * Recorded multifd streams whose packets were made hostile, field by field and packet by packet, also of device state: the
 * load ends at once, in other RAM or in an error of ours that says where; never in a crash, a hang, or memory that stays.
 * Some hundreds of each by default, thousands with SWITCHOVER_HOSTILE=full.
 */

import { describe, expect, test } from 'vitest';
import type { MultifdMethod } from '../../../src/migration/multifd/compression.ts';
import {
  MULTIFD_HELLO,
  PACKET_START,
  RAM_PACKET_BYTES,
  RAM_PACKET_OFFSET,
  RAM_PACKET_REST,
  STATE_PACKET_BYTES,
  STATE_PACKET_REST,
} from '../../../src/wire/multifd.ts';
import { VFIO_PACKET } from '../../../src/wire/vfio.ts';
import { changed, EXTENT, loadAll } from '../../support/hostile-loading.ts';
import { MultifdLoadingMachine } from '../../support/multifd-loading.ts';
import { packetsOf, recordedMultifd } from '../../support/multifd-streams.ts';
import { type Chance, changeField, rearrange } from '../../support/mutations.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { seeded } from '../../support/seeded.ts';
import { IDSTR, statePacket } from '../../support/state-packets.ts';
import { stateDevice, stateStream } from '../../support/state-streams.ts';
import { type FieldSpan, spansOf } from '../../support/struct-spans.ts';

const RAM_BYTES = recordedStream('none-4m.ram.zz').length;
const HELLO = spansOf(MULTIFD_HELLO);
const START = spansOf(PACKET_START);
const RAM_HEADER = [...START, ...spansOf(RAM_PACKET_REST, PACKET_START.size)];
const STATE_HEADER = [
  ...START,
  ...spansOf(STATE_PACKET_REST, PACKET_START.size),
  ...spansOf(VFIO_PACKET, STATE_PACKET_BYTES),
];

/** Names the connection, or what of the whole was missing because of it. */
const PLACE = /multifd channel|connection \d|section id|of device 'd\d'|of the state of 'd\d'/;

/** A page's place in the table, or its data; of a greeting and of state there is the header only. */
function fieldOf(piece: Buffer, isGreeting: boolean, below: Chance): FieldSpan {
  if (isGreeting) return HELLO[below(HELLO.length)]!;
  const isState = piece.length >= 12 && (piece.readUInt32BE(RAM_PACKET_OFFSET.FLAGS) & 0x40) !== 0;
  if (isState) return STATE_HEADER[below(STATE_HEADER.length)]!;
  const pages = piece.readUInt32BE(RAM_PACKET_OFFSET.NORMAL_PAGES) + piece.readUInt32BE(RAM_PACKET_OFFSET.ZERO_PAGES);
  const dataBytes = piece.length - RAM_PACKET_BYTES;
  const kind = below(4);
  if (kind === 0 && pages > 0 && pages <= 128)
    return { name: 'offset', at: RAM_PACKET_OFFSET.TABLE + 8 * below(pages), length: 8 };
  if (kind === 1 && dataBytes > 0) return { name: 'data', at: RAM_PACKET_BYTES, length: dataBytes };
  return RAM_HEADER[below(RAM_HEADER.length)]!;
}

/** Channels in pieces: the greeting, then packet for packet. */
type Pieces = readonly (readonly Buffer[])[];

/** Streams of which one channel was changed in one to three places. */
function* mutations(connections: readonly Uint8Array[], pieces: Pieces, seed: number) {
  const below = seeded(seed);
  for (let n = 0; n < EXTENT.corruptions; n++) {
    const channel = below(pieces.length);
    const own = pieces[channel]!.map((piece) => Buffer.from(piece));
    const what: string[] = [];
    for (let left = 1 + below(3); left > 0; left--) {
      const at = below(own.length);
      const piece = own[at]!;
      if (below(3) === 0) what.push(rearrange(own, below));
      else if (
        piece.length >= STATE_PACKET_BYTES + VFIO_PACKET.size ||
        (at === 0 && piece.length === MULTIFD_HELLO.size)
      )
        what.push(`packet ${at}: ${changeField(piece, fieldOf(piece, at === 0, below), below)}`);
    }
    const name = `${n}: channel ${channel}, ${what.join(', ')}`;
    yield { name, connections: changed(connections, channel + 1, Buffer.concat(own)) };
  }
}

async function expectAllToEnd(
  machine: MultifdLoadingMachine,
  variants: Iterable<{ name: string; connections: readonly Uint8Array[] }>,
) {
  const placeless: string[] = [];
  const { foreign, loaded, refused } = await loadAll(machine, variants, ({ name, error }) => {
    const { at } = error.details as { at?: number };
    if (typeof at !== 'number' || at < 0 || !PLACE.test(error.message)) placeless.push(`${name}: ${error.message}`);
  });
  expect(foreign).toEqual([]);
  expect(placeless).toEqual([]);
  expect(loaded.length).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(EXTENT.corruptions / 2 / EXTENT.parts);
}

/** The pieces of a recorded channel. */
function piecesOf(channel: Uint8Array): Buffer[] {
  const packets = packetsOf(channel).map(({ header, data }) => Buffer.concat([header, data]));
  return [Buffer.from(channel.subarray(0, MULTIFD_HELLO.size)), ...packets];
}

describe.for<MultifdMethod>(['none', 'zlib', 'zstd'])('recorded with compression %s', (method) => {
  test('packets with hostile fields', { timeout: EXTENT.longMs }, async () => {
    const { main, channels } = recordedMultifd(method);
    const machine = new MultifdLoadingMachine({ ramBytes: RAM_BYTES, method });
    const pieces = channels.map(piecesOf);
    await expectAllToEnd(machine, mutations([main, ...channels], pieces, 600 + method.length));
  });
});

test('packets with the state of two devices and hostile fields', { timeout: EXTENT.longMs }, async () => {
  const { main, channels, packets } = await stateStream(2);
  const pieces = channels.map((channel, index) => {
    const recorded = recordedMultifd('none').channels[index]!;
    return [...piecesOf(recorded), ...packets.filter((packet) => Buffer.from(channel).includes(packet))];
  });
  expect(pieces.map((own) => Buffer.concat(own).length)).toEqual(channels.map((channel) => channel.length));
  const devices = [stateDevice(0), stateDevice(1)].map(({ asSection }) => asSection);
  const machine = new MultifdLoadingMachine({ ramBytes: RAM_BYTES, method: 'none', devices });
  // Most mutations are to meet the packets of state, which are few and small.
  const ofState = pieces.map((own) => [own[0]!, ...own.slice(-packets.length / 2)]);
  const before = pieces.map((own) => own.slice(1, -packets.length / 2));
  function* all() {
    for (const { name, connections } of mutations([main, ...channels], ofState, 77)) {
      const whole = connections.map((bytes, index) => {
        if (index === 0 || bytes === channels[index - 1]) return bytes;
        const [greeting, rest] = [bytes.subarray(0, MULTIFD_HELLO.size), bytes.subarray(MULTIFD_HELLO.size)];
        return Buffer.concat([greeting, ...before[index - 1]!, rest]);
      });
      yield { name, connections: whole };
    }
  }
  await expectAllToEnd(machine, all());
});

test('a packet of state where no device takes any', async () => {
  const { main, channels } = recordedMultifd('none');
  const machine = new MultifdLoadingMachine({ ramBytes: RAM_BYTES, method: 'none' });
  const [greeting, sync, ...packets] = piecesOf(channels[0]!);
  const state = statePacket({ idstr: IDSTR, state: Buffer.alloc(10) });
  const bytes = Buffer.concat([greeting!, sync!, state, ...packets]);
  expect(await machine.load([main, bytes, channels[1]!])).toMatchObject({
    message: expect.stringMatching(/multifd channel 0, packet 1, reading idstr: expected a device .*\(none\)/),
  });
});
