/**
 * The extension of the return path between two Switchovers (wire/extension.ts): what a destination tells about its devices
 * and its clock, and what the source makes of it. A source that talks to a real QEMU never learns anything here.
 */

import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import { BACKLOG_PING, EXTENSION, type ExtensionName, PROBE_PONG } from '../wire/extension.ts';
import { LIMITS } from '../wire/limits.ts';
import { ByteWriter } from '../wire/writer.ts';
import { LEDGER_PHASES, type LedgerPart } from './ledger.ts';
import type { ReturnPathWriter } from './return-path.ts';
import type { AckPolicy } from './vfio/switchover-ack.ts';

const NS_PER_MS = 1e6;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Start and end. */
const STRETCH_BYTES = 16;
/** Bytes of a row's name: a device's id is in the name of its section, which has a length of 8 bits. */
const LONGEST_ROW = 255;
/** How many stretches share a message. */
const MESSAGE_STRETCHES = Math.floor(
  (LIMITS.RETURN_PATH_BYTES - EXTENSION.LEDGER_PARTS.fields.size - LONGEST_ROW) / STRETCH_BYTES,
);
/** How long after one question about the destination's backlog the next one may follow (ms). */
const BACKLOG_PERIOD_MS = 20;

/** How far a destination's device is. */
export interface DeviceReadiness {
  readonly idstr: string;
  readonly instanceId: number;
  readonly ready: boolean;
  /** Spent on preparation so far (ms). */
  readonly preparationMs: number;
  /** Measured rate at which the device takes its data (bytes per second); 0 = not measured. */
  readonly loadBytesPerSecond: number;
  /** Bytes that have arrived for it and that it has not taken. */
  readonly aheadBytes: number;
}

/** What has been sent and not been read yet. */
export interface Backlog {
  /** How long the last that was read had been on its way (ms): as long as a destination that prepares reads nothing. */
  readonly ms: number;
  /** What was sent meanwhile. */
  readonly bytes: number;
}

/** The destination's end: says things once the source has shown itself to be a Switchover. */
export class PeerReporter {
  readonly #writer: ReturnPathWriter;
  readonly #clock: Clock;

  constructor(writer: ReturnPathWriter, clock: Clock) {
    this.#writer = writer;
    this.#clock = clock;
  }

  /** Answers the probe, tells the time and how acks are handled here. */
  async hello(ack: AckPolicy): Promise<void> {
    await this.#writer.sendU32('PONG', PROBE_PONG);
    const fixed = EXTENSION.HELLO.fields.encode({
      nowNs: this.#nowNs(),
      hasAck: ack.isOn ? 1 : 0,
      isAckLegacy: ack.mode === 'legacy' ? 1 : 0,
    });
    await this.#send('HELLO', fixed);
  }

  async readiness(device: DeviceReadiness): Promise<void> {
    const fixed = EXTENSION.READINESS.fields.encode({
      nowNs: this.#nowNs(),
      ready: device.ready ? 1 : 0,
      preparationNs: toNs(device.preparationMs),
      loadBytesPerSecond: BigInt(Math.round(device.loadBytesPerSecond)),
      aheadBytes: BigInt(device.aheadBytes),
      instanceId: device.instanceId,
    });
    await this.#send('READINESS', fixed, device.idstr);
  }

  /**
   * Parts of the downtime, which go with the final status; times are milliseconds of this side's clock. The guest's way home waits
   * for them: parts of one kind share a message.
   */
  async ledger(parts: readonly LedgerPart[]): Promise<void> {
    const kinds = Map.groupBy(parts, ({ row, phase }) => `${phase} ${row}`);
    for (const kind of kinds.values()) {
      for (let from = 0; from < kind.length; from += MESSAGE_STRETCHES) {
        await this.#writer.addMessage(
          EXTENSION.LEDGER_PARTS.type,
          this.#stretches(kind.slice(from, from + MESSAGE_STRETCHES)),
        );
      }
    }
  }

  /** Of one row and phase. */
  #stretches(parts: readonly LedgerPart[]): Uint8Array {
    const [first] = parts;
    assert(first !== undefined, 'a kind of parts has one at least');
    const { row, phase } = first;
    const fixed = { nowNs: this.#nowNs(), phase: LEDGER_PHASES.indexOf(phase), count: parts.length };
    const writer = new ByteWriter().bytes(EXTENSION.LEDGER_PARTS.fields.encode(fixed));
    for (const { startMs, endMs } of parts) writer.u64(toNs(startMs)).u64(toNs(endMs));
    return writer.bytes(encoder.encode(row)).take();
  }

  #send(name: ExtensionName, fixed: Uint8Array, text = ''): Promise<void> {
    return this.#writer.sendMessage(EXTENSION[name].type, withText(fixed, text));
  }

  #nowNs(): bigint {
    return toNs(this.#clock.nowMs());
  }
}

/** The source's end: whether the other side is a Switchover, its clock, its devices, its parts of the ledger. */
export class PeerKnowledge {
  readonly #clock: Clock;
  readonly #onHello: (ack: AckPolicy) => void;
  readonly #devices = new Map<string, DeviceReadiness>();
  /** When each device was heard of first. */
  readonly #sinceMs = new Map<string, number>();
  readonly #parts: LedgerPart[] = [];
  #isSwitchover = false;
  /** The last question about the backlog: when, and how many bytes had been sent by then. */
  #asked = { atMs: Number.NEGATIVE_INFINITY, bytes: 0 };
  /** Questions without an answer yet; the answer to the last one is what `#caughtUp` waits for. */
  #unanswered = 0;
  #caughtUp: PromiseWithResolvers<void> | undefined;
  #backlog: Backlog = { ms: 0, bytes: 0 };
  /** Destination's clock minus ours (ms), less the shortest way back seen. */
  #offsetMs = Number.NEGATIVE_INFINITY;

  /** `onHello` hears how the destination handles acks, and may throw: then the migration cannot work. */
  constructor(clock: Clock, onHello: (ack: AckPolicy) => void = () => undefined) {
    this.#clock = clock;
    this.#onHello = onHello;
  }

  /** True once the destination has answered the probe as only a Switchover does. */
  get isSwitchover(): boolean {
    return this.#isSwitchover;
  }

  /** Every PONG comes here; `bytes` have been sent by now. */
  pong(value: number, bytes: number): void {
    if (value === PROBE_PONG) this.#isSwitchover = true;
    if (value !== BACKLOG_PING || this.#unanswered === 0) return;
    this.#unanswered -= 1;
    if (this.#unanswered > 0) return;
    this.#backlog = { ms: this.#clock.nowMs() - this.#asked.atMs, bytes: bytes - this.#asked.bytes };
    this.#caughtUp?.resolve();
    this.#caughtUp = undefined;
  }

  /** Whether a BACKLOG_PING is to be sent now, which is then taken for sent behind so many bytes. */
  asksForBacklog(bytes: number): boolean {
    const atMs = this.#clock.nowMs();
    if (!this.#isSwitchover || this.#unanswered > 0 || atMs < this.#asked.atMs + BACKLOG_PERIOD_MS) return false;
    this.#asked = { atMs, bytes };
    this.#unanswered += 1;
    return true;
  }

  /** Another BACKLOG_PING, taken for sent now whether the last was answered or not; resolves when all are. */
  asksAnyway(bytes: number): Promise<void> {
    this.#asked = { atMs: this.#clock.nowMs(), bytes };
    this.#unanswered += 1;
    this.#caughtUp ??= Promise.withResolvers();
    return this.#caughtUp.promise;
  }

  /** What was on its way when the last question was answered; nothing before. */
  get backlog(): Backlog {
    return this.#backlog;
  }

  /** How long a destination's device has been known (ms); undefined before it said anything. */
  knownMs(idstr: string, instanceId: number): number | undefined {
    const sinceMs = this.#sinceMs.get(`${idstr} ${instanceId}`);
    return sinceMs === undefined ? undefined : this.#clock.nowMs() - sinceMs;
  }

  /** What is known of a destination's device; undefined before it said anything. */
  device(idstr: string, instanceId: number): DeviceReadiness | undefined {
    return this.#devices.get(`${idstr} ${instanceId}`);
  }

  /** The destination's parts of the ledger, in milliseconds of our clock. */
  parts(): LedgerPart[] {
    return this.#parts.map((part) => ({
      ...part,
      startMs: part.startMs - this.#offsetMs,
      endMs: part.endMs - this.#offsetMs,
    }));
  }

  /** One extension message. Throws `migration/return-path` for one that was not to come or that is wrong. */
  heard(name: ExtensionName, data: Uint8Array, at: number): void {
    const bad = (field: string, expected: string, actual: string) =>
      new HarnessError('migration/return-path', { at, field, expected, actual });
    if (!this.#isSwitchover) throw bad('message type', '1 to 7 before the answer to the probe', name);
    const { size } = EXTENSION[name].fields;
    if (data.length < size) throw bad(`length of ${name}`, `at least ${size}`, `${data.length}`);
    switch (name) {
      case 'HELLO': {
        const { nowNs, hasAck, isAckLegacy } = EXTENSION.HELLO.fields.decode(data);
        this.#tick(nowNs);
        this.#onHello({ isOn: hasAck === 1, mode: isAckLegacy === 1 ? 'legacy' : 'reusable' });
        return;
      }
      case 'READINESS': {
        const fields = EXTENSION.READINESS.fields.decode(data);
        const { instanceId } = fields;
        const idstr = decoder.decode(data.subarray(size));
        this.#tick(fields.nowNs);
        const key = `${idstr} ${instanceId}`;
        if (!this.#devices.has(key) && this.#devices.size >= LIMITS.PEER_DEVICES) {
          throw bad('devices', `at most ${LIMITS.PEER_DEVICES} (PEER_DEVICES)`, `${this.#devices.size + 1}`);
        }
        if (!this.#sinceMs.has(key)) this.#sinceMs.set(key, this.#clock.nowMs());
        this.#devices.set(key, {
          idstr,
          instanceId,
          ready: fields.ready === 1,
          preparationMs: toMs(fields.preparationNs),
          loadBytesPerSecond: Number(fields.loadBytesPerSecond),
          aheadBytes: Number(fields.aheadBytes),
        });
        return;
      }
      case 'LEDGER_PARTS': {
        const { nowNs, phase, count } = EXTENSION.LEDGER_PARTS.fields.decode(data);
        this.#tick(nowNs);
        const known = LEDGER_PHASES[phase];
        if (known === undefined) throw bad('ledger phase', `0 to ${LEDGER_PHASES.length - 1}`, `${phase}`);
        const nameAt = size + count * STRETCH_BYTES;
        if (data.length < nameAt) throw bad(`length of ${name} of ${count}`, `at least ${nameAt}`, `${data.length}`);
        if (this.#parts.length + count > LIMITS.LEDGER_PARTS) {
          throw bad('ledger parts', `at most ${LIMITS.LEDGER_PARTS} (LEDGER_PARTS)`, `${this.#parts.length + count}`);
        }
        const row = decoder.decode(data.subarray(nameAt));
        const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
        for (let at = size; at < nameAt; at += STRETCH_BYTES) {
          const [startMs, endMs] = [toMs(view.getBigUint64(at)), toMs(view.getBigUint64(at + 8))];
          this.#parts.push({ row, phase: known, startMs, endMs });
        }
        return;
      }
      default:
        name satisfies never;
    }
  }

  /** The later a message seems to have been sent, the less time it was on its way. */
  #tick(nowNs: bigint): void {
    this.#offsetMs = Math.max(this.#offsetMs, toMs(nowNs) - this.#clock.nowMs());
  }
}

function withText(fixed: Uint8Array, text: string): Uint8Array {
  return new ByteWriter().bytes(fixed).bytes(encoder.encode(text)).take();
}

function toNs(ms: number): bigint {
  return BigInt(Math.max(0, Math.round(ms * NS_PER_MS)));
}

function toMs(ns: bigint): number {
  return Number(ns) / NS_PER_MS;
}
