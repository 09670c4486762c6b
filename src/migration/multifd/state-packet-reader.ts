/**
 * Takes the device-state packets of one receiving channel apart (spec/wire.md §5.3, spec/vfio.md §2.6): what can be judged by
 * one packet alone is judged here; whether packets follow each other is the queue's to judge (vfio/state-queue.ts). The
 * state is read into shared memory, from which the device's thread takes it.
 */

import { HarnessError } from '../../base/errors.ts';
import { type PinnedBytes, pinned, Segments } from '../../threads/segments.ts';
import { SharedBuffers } from '../../threads/shared-buffers.ts';
import { LIMITS } from '../../wire/limits.ts';
import {
  STATE_PACKET_OFFSET as AT,
  MULTIFD_FLAG,
  PACKET_START,
  STATE_PACKET_BYTES,
  STATE_PACKET_REST,
} from '../../wire/multifd.ts';
import { VFIO_PACKET, VFIO_PACKET_FLAG, VFIO_PACKET_NO_INDEX, VFIO_PACKET_VERSION } from '../../wire/vfio.ts';
import type { PacketStep } from './packet-reader.ts';
import type { ReadAhead } from './read-ahead.ts';

/** A device whose state may come over channels. */
export interface StateTarget {
  readonly idstr: string;
  readonly instanceId: number;
  /** Why it may not; undefined when it may. */
  readonly refusal: string | undefined;
}

/** One packet as it arrived. */
export interface StatePacket {
  /** Place of its device in the list of targets. */
  readonly target: number;
  readonly index: number;
  /** It is the last, with the device's ordinary state. */
  readonly isConfig: boolean;
  /** Its state, in shared memory of `SharedBuffers`. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Of the packet's payload on its channel. */
  readonly place: { readonly at: number; readonly section: string };
}

/** A packet whose first 12 bytes were read. */
interface BegunPacket {
  readonly flags: number;
  /** Of its first byte, from the connection's. */
  readonly at: number;
  readonly section: string;
}

/** See the header. */
export class StatePacketReader {
  readonly #targets: readonly StateTarget[];
  readonly #buffers = new SharedBuffers(LIMITS.STATE_PACKET_BYTES);
  readonly #segments = new Segments(1);
  readonly #ahead: ReadAhead;
  #header: PinnedBytes | undefined;

  /** `ahead` has what was read before. */
  constructor(targets: readonly StateTarget[], ahead: ReadAhead) {
    this.#targets = targets;
    this.#ahead = ahead;
  }

  /** The rest of one packet. Returns the bytes read, undefined when the channel has been ended meanwhile. */
  *steps(packet: BegunPacket): Generator<PacketStep, number | undefined, number> {
    this.#header ??= pinned(STATE_PACKET_REST.size);
    this.#checkFlags(packet);
    yield* this.#read(this.#header, 0, STATE_PACKET_REST.size, (have) =>
      truncated(packet, PACKET_START.size + have, STATE_PACKET_REST.fieldAt(have), STATE_PACKET_REST.size - have),
    );
    const { idstr, instanceId, dataBytes } = STATE_PACKET_REST.decode(this.#header.bytes);
    const target = this.#target(packet, idstr, instanceId);
    checkLength(packet, dataBytes);
    if ((yield { kind: 'room' }) === 0) return undefined;
    const { memory, start, bytes } = this.#buffers.take(dataBytes);
    yield* this.#read(memory, start, dataBytes, (have) =>
      truncated(packet, STATE_PACKET_BYTES + have, payloadFieldAt(have), dataBytes - have),
    );
    const { index, isConfig } = checkPayload(packet, bytes);
    const place = { at: packet.at + AT.PAYLOAD, section: packet.section };
    yield {
      kind: 'state',
      packet: { target, index, isConfig, bytes: bytes.subarray(VFIO_PACKET.size), place },
    };
    return STATE_PACKET_REST.size + dataBytes;
  }

  *#read(
    memory: PinnedBytes,
    start: number,
    length: number,
    cut: (have: number) => HarnessError,
  ): Generator<PacketStep, void, number> {
    const taken = this.#ahead.moveTo(memory.bytes.subarray(start, start + length));
    if (taken === length) return;
    this.#segments.reset();
    this.#segments.add(memory, start + taken, length - taken);
    const have = taken + (yield { kind: 'read', into: this.#segments, atLeast: length - taken });
    if (have < length) throw cut(have);
  }

  #checkFlags(packet: BegunPacket): void {
    const { flags } = packet;
    if ((flags & MULTIFD_FLAG.SYNC) !== 0) throw bad(packet, AT.FLAGS, 'flags', 'device state without SYNC', 'both');
    const method = flags & MULTIFD_FLAG.METHOD_MASK;
    if (method === 0) return;
    throw bad(packet, AT.FLAGS, 'flags', 'device state without compression', `method 0x${method.toString(16)}`);
  }

  #target(packet: BegunPacket, field: Uint8Array, instanceId: number): number {
    const end = field.indexOf(0);
    const known = this.#targets.map((one) => `'${one.idstr}' instance ${one.instanceId}`).join(', ') || 'none';
    const expected = `a device that takes state here (${known})`;
    if (end < 0) throw bad(packet, AT.IDSTR, 'idstr', expected, '256 bytes without an end');
    const idstr = Buffer.from(field.subarray(0, end)).toString('latin1');
    const target = this.#targets.findIndex((one) => one.idstr === idstr && one.instanceId === instanceId);
    const found = this.#targets[target];
    if (found === undefined) {
      const isName = this.#targets.some((one) => one.idstr === idstr);
      const [at, name] = isName ? ([AT.INSTANCE_ID, 'instanceId'] as const) : ([AT.IDSTR, 'idstr'] as const);
      throw bad(packet, at, name, expected, `'${idstr}' instance ${instanceId}`);
    }
    if (found.refusal === undefined) return target;
    const actual = `state of '${idstr}'`;
    const hint = 'set multifd and x-migration-multifd-transfer the same on both sides';
    throw bad(packet, AT.FLAGS, 'flags', `no device state: ${found.refusal}`, actual, hint);
  }
}

function checkLength(packet: BegunPacket, dataBytes: number): void {
  if (dataBytes > LIMITS.STATE_PACKET_BYTES) {
    const limit = { limit: 'STATE_PACKET_BYTES', maximum: LIMITS.STATE_PACKET_BYTES, actual: dataBytes };
    throw new HarnessError('stream/limit', { ...place(packet, AT.DATA_BYTES, 'dataBytes'), ...limit });
  }
  if (dataBytes > VFIO_PACKET.size) return;
  const expected = `more than the ${VFIO_PACKET.size} bytes before the state`;
  throw bad(packet, AT.DATA_BYTES, 'dataBytes', expected, `${dataBytes}`);
}

function checkPayload(packet: BegunPacket, bytes: Uint8Array): { index: number; isConfig: boolean } {
  const { version, index, flags } = VFIO_PACKET.decode(bytes.slice(0, VFIO_PACKET.size));
  if (version !== VFIO_PACKET_VERSION) {
    throw bad(packet, AT.PAYLOAD, 'version of the device state', `${VFIO_PACKET_VERSION}`, `${version}`);
  }
  if (index === VFIO_PACKET_NO_INDEX) {
    throw bad(packet, AT.PAYLOAD + 4, 'index', `not 0x${VFIO_PACKET_NO_INDEX.toString(16)}`, 'it');
  }
  if ((flags & ~VFIO_PACKET_FLAG.CONFIG_STATE) !== 0) {
    const expected = `0 or 0x${VFIO_PACKET_FLAG.CONFIG_STATE.toString(16)}`;
    throw bad(packet, AT.PAYLOAD + 8, 'flags of the device state', expected, `0x${flags.toString(16)}`);
  }
  return { index, isConfig: flags === VFIO_PACKET_FLAG.CONFIG_STATE };
}

function payloadFieldAt(offset: number): string {
  return offset < VFIO_PACKET.size ? `${VFIO_PACKET.fieldAt(offset)} of the device state` : 'device state';
}

/** `at` counts from the packet's first byte. */
function place(packet: BegunPacket, at: number, field: string) {
  return { at: packet.at + at, section: packet.section, field };
}

function bad(
  packet: BegunPacket,
  at: number,
  field: string,
  expected: string,
  actual: string,
  hint?: string,
): HarnessError {
  const details = { ...place(packet, at, field), expected, actual, ...(hint === undefined ? {} : { hint }) };
  return new HarnessError('stream/bad-value', details);
}

function truncated(packet: BegunPacket, at: number, field: string, needed: number): HarnessError {
  const hint = 'the sender closed this connection; look for its own error';
  return new HarnessError('stream/truncated', { ...place(packet, at, field), needed, available: 0, hint });
}
