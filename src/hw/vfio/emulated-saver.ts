/**
 * The saving session of an emulated VFIO device: which records are next, how much of them is unread, and what changed
 * meanwhile. One per session; profiles.ts says what is sent.
 */

import type { Pace } from './pace.ts';
import type { VfioProfile } from './profiles.ts';
import type { PrecopyInfo } from './vfio-driver.ts';
import { type BulkPattern, RECORD_HEADER_BYTES, type RecordPlan, writeHeader } from './vfio-records.ts';

/** An increment is worth its record from this share of the state on, as mlx5's are. */
const INCREMENT_SHARE = 0.01;
const INCREMENT_MIN_BYTES = 4096;
/** Most bytes of one increment. */
const INCREMENT_MAX_BYTES = 64 * 2 ** 20;
/** One read of a device that takes its time is no more than this (bytes): what it has goes out while it reads on. */
const PACED_BYTES = 1 << 20;
/** Payloads from this size on are read where they are (bytes); smaller ones are gathered. */
const BULK_BYTES = 65_536;
/** New initial data after REINIT (bytes). */
const REINIT_BYTES = 4096;

/** What a session works with; times in ms of one clock. */
export interface SaverOptions {
  readonly profile: VfioProfile;
  readonly stateBytes: number;
  /** Bytes of state that change per second while the guest runs. */
  readonly dirtyBytesPerSecond: number;
  /** When new initial data appears, counted from the session's begin; 0 = never. */
  readonly reinitMs: number;
  readonly pattern: BulkPattern;
  readonly pace: Pace;
  /** How long the guest has run. */
  readonly guestMs: () => number;
  /** A number from 0 to 1. */
  readonly random: () => number;
}

/** A record that has not been read to its end. */
interface QueuedRecord {
  readonly plan: RecordPlan;
  readonly isInitial: boolean;
  /** Bytes that were read, the header's included. */
  offset: number;
}

/** See the header. */
export class EmulatedSaver {
  readonly #options: SaverOptions;
  readonly #queue: QueuedRecord[] = [];
  readonly #beganMs: number;
  #lastMs: number;
  #changedBytes: number;
  #generation = 0;
  #refreshedMs: number;
  #reinit: 'to come' | 'told' | 'never';
  #isFinal = false;

  /** Begins in PRE_COPY, or at once with the last data. */
  constructor(options: SaverOptions, begin: 'pre-copy' | 'stop-copy') {
    this.#options = options;
    this.#beganMs = options.guestMs();
    this.#lastMs = this.#beganMs;
    this.#refreshedMs = this.#beganMs;
    this.#reinit = options.reinitMs > 0 ? 'to come' : 'never';
    const { profile, stateBytes } = options;
    // What no first image carries has to be sent as a change.
    const isImageSent = profile.initial(stateBytes).some(({ tag }) => tag === 'IMAGE');
    this.#changedBytes = isImageSent ? 0 : stateBytes;
    for (const record of profile.initial(stateBytes)) {
      if (begin === 'pre-copy' || record.tag !== 'IMAGE') this.#push(record, true);
    }
    if (begin === 'stop-copy') this.finish();
  }

  /** The guest stands still: the last records. */
  finish(): void {
    if (this.#isFinal) return;
    this.#change();
    this.#isFinal = true;
    this.#push({ tag: 'FINAL', size: this.#finalBytes() }, false);
  }

  info(): PrecopyInfo {
    this.#change();
    const reinit = this.#reinitNow();
    const unread = (isInitial: boolean) =>
      this.#queue
        .filter((entry) => entry.isInitial === isInitial)
        .reduce((sum, { plan, offset }) => sum + RECORD_HEADER_BYTES + plan.size - offset, 0);
    const initialBytes = unread(true);
    const refreshBytes = this.#refreshBytes();
    const dirtyBytes = unread(false) + (refreshBytes === 0 ? 0 : refreshBytes + RECORD_HEADER_BYTES);
    return { initialBytes, dirtyBytes: this.#noisy(dirtyBytes), reinit };
  }

  /** What STOP_COPY would carry now. */
  stopCopyBytes(): number {
    this.#change();
    return this.#noisy(RECORD_HEADER_BYTES + this.#finalBytes());
  }

  /**
   * The next bytes of the stream, at most `maxBytes`; none when there are none now. Bulk data is in the device's memory, as what
   * hardware wrote there by DMA, and is read where it is.
   */
  read(maxBytes: number, spare?: ArrayBufferLike): Uint8Array {
    this.#change();
    if (this.#queue.length === 0 && !this.#isFinal) this.#refresh();
    const startMs = performance.now();
    const bytes = this.#bulk(maxBytes) ?? this.#gather(maxBytes, spare);
    this.#options.pace.spend(bytes.length, startMs);
    return bytes;
  }

  /** A view of the next bytes, when they are many of one kind. */
  #bulk(maxBytes: number): Uint8Array | undefined {
    const entry = this.#queue[0];
    if (entry === undefined || !hasBulk(entry)) return undefined;
    const offset = entry.offset - RECORD_HEADER_BYTES;
    const { pattern, pace } = this.#options;
    const most = Math.min(maxBytes, entry.plan.size - offset, pace.isLimited ? PACED_BYTES : Number.POSITIVE_INFINITY);
    const bytes = pattern.view({ record: entry.plan, offset }, most);
    this.#passed(entry, bytes.length);
    return bytes;
  }

  /** The next bytes in one buffer, up to where a view will do. */
  #gather(maxBytes: number, spare: ArrayBufferLike | undefined): Uint8Array {
    const most = Math.min(this.#gatherable(), maxBytes);
    const buffer = spare !== undefined && spare.byteLength >= most ? spare : Buffer.allocUnsafeSlow(most).buffer;
    const bytes = new Uint8Array(buffer, 0, most);
    let done = 0;
    for (let entry = this.#queue[0]; entry !== undefined && done < most && !hasBulk(entry); entry = this.#queue[0]) {
      const count = this.#copy(entry, bytes.subarray(done));
      done += count;
      this.#passed(entry, count);
    }
    return bytes.subarray(0, done);
  }

  /** Bytes up to where a view will do. */
  #gatherable(): number {
    let bytes = 0;
    for (const { plan, offset } of this.#queue) {
      const isBulk = hasBulk({ plan, offset: Math.max(offset, RECORD_HEADER_BYTES) });
      bytes += (isBulk ? RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + plan.size) - offset;
      if (isBulk) break;
    }
    return bytes;
  }

  #passed(entry: QueuedRecord, count: number): void {
    entry.offset += count;
    if (entry.offset === RECORD_HEADER_BYTES + entry.plan.size) this.#queue.shift();
  }

  /** Puts what comes next of one record into `target`; returns how much that is. */
  #copy(entry: QueuedRecord, target: Uint8Array): number {
    const { plan } = entry;
    if (entry.offset < RECORD_HEADER_BYTES) {
      const header = new Uint8Array(RECORD_HEADER_BYTES);
      writeHeader(header, plan);
      const piece = header.subarray(entry.offset, entry.offset + target.length);
      target.set(piece);
      return piece.length;
    }
    const offset = entry.offset - RECORD_HEADER_BYTES;
    const piece = target.subarray(0, Math.min(target.length, plan.size - offset));
    if (plan.tag === 'STOP_COPY_SIZE')
      piece.set(sizePayload(this.#options.stateBytes).subarray(offset, offset + piece.length));
    else this.#options.pattern.fill(piece, { record: plan, offset });
    return piece.length;
  }

  #push(record: Omit<RecordPlan, 'generation'>, isInitial: boolean): void {
    this.#queue.push({ plan: { ...record, generation: this.#generation }, isInitial, offset: 0 });
    this.#generation += 1;
  }

  /** Time passed while the guest ran: state changed. */
  #change(): void {
    const now = this.#options.guestMs();
    this.#changedBytes += ((now - this.#lastMs) / 1000) * this.#options.dirtyBytesPerSecond;
    this.#changedBytes = Math.min(this.#changedBytes, this.#options.stateBytes);
    this.#lastMs = now;
  }

  /** Payload of the last record, were it due now. A byte that changed in part is a changed byte. */
  #finalBytes(): number {
    const { profile, stateBytes } = this.#options;
    return profile.final(stateBytes, Math.ceil(this.#changedBytes));
  }

  #refreshBytes(): number {
    const { profile, stateBytes } = this.#options;
    const changed = Math.floor(this.#changedBytes);
    switch (profile.refresh) {
      case 'none':
        return 0;
      case 'whole':
        return changed > 0 && this.#lastMs - this.#refreshedMs >= profile.refreshMs ? stateBytes : 0;
      case 'increments':
        return changed >= Math.max(INCREMENT_MIN_BYTES, stateBytes * INCREMENT_SHARE) ? changed : 0;
      default:
        return profile.refresh satisfies never;
    }
  }

  #refresh(): void {
    const bytes = this.#refreshBytes();
    if (bytes === 0) return;
    const isWhole = this.#options.profile.refresh === 'whole';
    const size = isWhole ? bytes : Math.min(bytes, INCREMENT_MAX_BYTES);
    this.#push({ tag: isWhole ? 'IMAGE' : 'INCREMENT', size }, false);
    this.#changedBytes = isWhole ? 0 : this.#changedBytes - size;
    this.#refreshedMs = this.#lastMs;
  }

  #reinitNow(): boolean {
    if (this.#reinit !== 'to come' || this.#lastMs - this.#beganMs < this.#options.reinitMs) return false;
    this.#reinit = 'told';
    this.#push({ tag: 'SETUP', size: REINIT_BYTES }, true);
    return true;
  }

  /** Sizes of a device whose statistics are not to be trusted. */
  #noisy(bytes: number): number {
    const { profile, random } = this.#options;
    return profile.noise === 0 ? bytes : Math.round(bytes * (1 + profile.noise * (2 * random() - 1)));
  }
}

/** What comes next of it is a payload worth a view of its own. */
function hasBulk({ plan, offset }: Pick<QueuedRecord, 'plan' | 'offset'>): boolean {
  if (plan.tag === 'STOP_COPY_SIZE' || offset < RECORD_HEADER_BYTES) return false;
  return RECORD_HEADER_BYTES + plan.size - offset >= BULK_BYTES;
}

function sizePayload(bytes: number): Uint8Array {
  const payload = new Uint8Array(8);
  new DataView(payload.buffer).setBigUint64(0, BigInt(bytes), true);
  return payload;
}
