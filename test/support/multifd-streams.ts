/** The recorded multifd streams, taken apart, and a peer that plays them to a destination of ours. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  MULTIFD_HELLO,
  PACKET_START,
  RAM_PACKET_BYTES,
  RAM_PACKET_OFFSET,
  RAM_PACKET_REST,
} from '../../src/wire/multifd.ts';
import { recordedStream } from './recorded-stream.ts';

/** One recorded packet. */
export interface RecordedPacket {
  readonly flags: number;
  readonly pagesAlloc: number;
  readonly normalPages: number;
  readonly zeroPages: number;
  /** Byte offsets of the normal pages, then of the zero pages. */
  readonly offsets: readonly number[];
  /** Header and table. */
  readonly header: Uint8Array;
  readonly data: Uint8Array;
}

/** The bytes of all connections of one recording. */
export interface RecordedMultifd {
  readonly main: Uint8Array;
  readonly channels: readonly Uint8Array[];
}

/** The recording with two channels and this compression. */
export function recordedMultifd(method: 'none' | 'zlib' | 'zstd'): RecordedMultifd {
  const file = (ending: string) => new Uint8Array(recordedStream(`none-4m-multifd-${method}.${ending}`));
  return { main: file('main'), channels: [file('mfd0'), file('mfd1')] };
}

/** The packets of one channel. */
export function packetsOf(channel: Uint8Array): RecordedPacket[] {
  const packets: RecordedPacket[] = [];
  for (let at = MULTIFD_HELLO.size; at < channel.length; ) {
    const header = channel.slice(at, at + RAM_PACKET_BYTES);
    const { flags } = PACKET_START.decode(header);
    const { pagesAlloc, normalPages, zeroPages, dataBytes } = RAM_PACKET_REST.decode(header.slice(PACKET_START.size));
    const view = new DataView(header.buffer);
    const offsets = Array.from({ length: normalPages + zeroPages }, (_, index) =>
      Number(view.getBigUint64(RAM_PACKET_OFFSET.TABLE + index * 8)),
    );
    const end = at + RAM_PACKET_BYTES + dataBytes;
    packets.push({
      flags,
      pagesAlloc,
      normalPages,
      zeroPages,
      offsets,
      header,
      data: channel.slice(at + RAM_PACKET_BYTES, end),
    });
    at = end;
  }
  return packets;
}

/** Connects to a unix socket once for each of `streams`, in this order, and sends each what it is. */
export async function play(path: string, streams: readonly Uint8Array[]): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (const bytes of streams) {
    const socket = connect(path);
    socket.on('error', () => undefined); // a destination that refuses closes
    await once(socket, 'connect');
    socket.write(bytes);
    sockets.push(socket);
  }
  return sockets;
}
