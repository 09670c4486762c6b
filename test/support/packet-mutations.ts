/** Recorded multifd channels made hostile: fields of greeting and packets changed, packets lost, doubled, swapped or cut. */

import {
  MULTIFD_HELLO,
  PACKET_START,
  RAM_PACKET_BYTES,
  RAM_PACKET_OFFSET,
  RAM_PACKET_REST,
  STATE_PACKET_BYTES,
  STATE_PACKET_REST,
} from '../../src/wire/multifd.ts';
import { VFIO_PACKET } from '../../src/wire/vfio.ts';
import { changed } from './hostile-loading.ts';
import { packetsOf } from './multifd-streams.ts';
import { type Chance, changeField, rearrange } from './mutations.ts';
import { seeded } from './seeded.ts';
import { type FieldSpan, spansOf } from './struct-spans.ts';

const HELLO = spansOf(MULTIFD_HELLO);
const START = spansOf(PACKET_START);
const RAM_HEADER = [...START, ...spansOf(RAM_PACKET_REST, PACKET_START.size)];
const STATE_HEADER = [
  ...START,
  ...spansOf(STATE_PACKET_REST, PACKET_START.size),
  ...spansOf(VFIO_PACKET, STATE_PACKET_BYTES),
];

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
export type Pieces = readonly (readonly Buffer[])[];

/** Streams of which one channel was changed in one to three places. */
export function* mutations(
  connections: readonly Uint8Array[],
  pieces: Pieces,
  { seed, count }: { seed: number; count: number },
): Generator<{ name: string; connections: Uint8Array[] }> {
  const below = seeded(seed);
  for (let n = 0; n < count; n++) {
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

/** The pieces of a recorded channel. */
export function piecesOf(channel: Uint8Array): Buffer[] {
  const packets = packetsOf(channel).map(({ header, data }) => Buffer.concat([header, data]));
  return [Buffer.from(channel.subarray(0, MULTIFD_HELLO.size)), ...packets];
}
