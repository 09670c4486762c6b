/** One request of a block driver (virtio 1.2, §5.2.6): taken apart from its buffers, and executed on the image file. */

import type { FileHandle } from 'node:fs/promises';
import type { DeviceRam } from '../../device.ts';
import { HEADER_BYTES, ID_BYTES, MAX_DATA_BYTES, REQUEST, RESULT, SECTOR_BYTES } from './registers.ts';
import { BrokenQueue, type Buffer, type Chain } from './virtqueue.ts';

/** The image that requests go to. */
export interface Image {
  readonly file: FileHandle;
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Answers GET_ID, cut to 20 bytes. */
  readonly id: string;
}

/** A request ready to be executed. */
export interface BlockRequest {
  readonly head: number;
  readonly type: number;
  readonly sector: bigint;
  /** What the guest wrote, for OUT. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** Where the answer goes, without the result byte, and how many bytes that is. */
  readonly answerBuffers: readonly Buffer[];
  readonly answerBytes: number;
  /** Address of the result byte. */
  readonly resultAddress: number;
}

/** What came of a request: the result byte and the data for the guest. */
export interface Outcome {
  readonly result: number;
  readonly data: Uint8Array;
}

/** Reads a request's header and data. Throws `BrokenQueue` for a chain that cannot be a request. */
export function parseRequest(ram: DeviceRam, chain: Chain): BlockRequest {
  const { head, readable, writable } = chain;
  const readableBytes = total(readable);
  const writableBytes = total(writable);
  if (readableBytes < HEADER_BYTES || writableBytes < 1)
    throw new BrokenQueue(`chain ${head} is too short for a request`);
  if (readableBytes + writableBytes > MAX_DATA_BYTES)
    throw new BrokenQueue(`chain ${head} is longer than ${MAX_DATA_BYTES}`);
  const bytes = new Uint8Array(readableBytes);
  let at = 0;
  for (const { address, length } of readable) {
    bytes.set(ram.read(address, length), at);
    at += length;
  }
  const header = new DataView(bytes.buffer);
  const buffers = writable.filter(({ length }) => length > 0);
  const last = buffers.at(-1)!; // there is a byte at least
  return {
    head,
    type: header.getUint32(0, true),
    sector: header.getBigUint64(8, true),
    data: bytes.subarray(HEADER_BYTES),
    answerBuffers: [...buffers.slice(0, -1), { ...last, length: last.length - 1 }],
    answerBytes: writableBytes - 1,
    resultAddress: last.address + last.length - 1,
  };
}

/** Executes a request on the image. Never rejects: what the file does not do is an I/O error to the guest. */
export async function execute(request: BlockRequest, image: Image): Promise<Outcome> {
  const { type, sector, data, answerBytes } = request;
  switch (type) {
    case REQUEST.IN: {
      if (!fits(sector, answerBytes, image)) return failed(RESULT.IO_ERROR);
      const buffer = new Uint8Array(answerBytes);
      const read = image.file.read(buffer, 0, answerBytes, Number(sector) * SECTOR_BYTES);
      return read.then(
        ({ bytesRead }) => (bytesRead === answerBytes ? done(buffer) : failed(RESULT.IO_ERROR)),
        () => failed(RESULT.IO_ERROR),
      );
    }
    case REQUEST.OUT: {
      if (image.readOnly || !fits(sector, data.length, image)) return failed(RESULT.IO_ERROR);
      const written = image.file.write(data, 0, data.length, Number(sector) * SECTOR_BYTES);
      return written.then(
        ({ bytesWritten }) => (bytesWritten === data.length ? done() : failed(RESULT.IO_ERROR)),
        () => failed(RESULT.IO_ERROR),
      );
    }
    case REQUEST.FLUSH:
      return image.file.datasync().then(
        () => done(),
        () => failed(RESULT.IO_ERROR),
      );
    case REQUEST.GET_ID: {
      const id = new Uint8Array(ID_BYTES);
      new TextEncoder().encodeInto(image.id, id);
      return done(id.subarray(0, Math.min(ID_BYTES, answerBytes)));
    }
    default:
      return failed(RESULT.UNSUPPORTED);
  }
}

/** Stores an outcome in the guest's buffers; the number of bytes stored. */
export function answer(ram: DeviceRam, request: BlockRequest, { result, data }: Outcome): number {
  let at = 0;
  for (const { address, length } of request.answerBuffers) {
    const part = data.subarray(at, at + length);
    ram.write(address, part);
    at += part.length;
  }
  ram.write(request.resultAddress, Uint8Array.of(result));
  return at + 1;
}

function total(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, { length }) => sum + length, 0);
}

function fits(sector: bigint, bytes: number, { sectors }: Image): boolean {
  return bytes % SECTOR_BYTES === 0 && sector + BigInt(bytes / SECTOR_BYTES) <= BigInt(sectors);
}

function done(data: Uint8Array = new Uint8Array()): Outcome {
  return { result: RESULT.OK, data };
}

function failed(result: number): Outcome {
  return { result, data: new Uint8Array() };
}
