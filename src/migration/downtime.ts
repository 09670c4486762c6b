/**
 * How long the guest would stand still if it were stopped now: what is on its way, RAM by the wire's speed, as QEMU reckons, and every VFIO
 * device by the slowest of reading it, sending it and loading it, which go on at the same time. What a destination still has to
 * prepare is not part of it: that is what switchover-ack waits for. Pure.
 */

import type { Backlog } from './peer-extension.ts';
import { AHEAD_BYTES } from './vfio/vfio-load.ts';

/** What is known of one device. */
interface DeviceCost {
  readonly id: string;
  /** What STOP_COPY will carry. */
  readonly bytes: number;
  /** Measured; 0 = not known, which counts as no cost. */
  readonly saveBytesPerSecond: number;
  readonly loadBytesPerSecond: number;
  /** How long its thread takes to answer (ms); 0 = not known. */
  readonly answerMs?: number;
  /** What it has yet to take of what was sent before. */
  readonly aheadBytes?: number;
  /** It goes over multifd channels, at the same time as RAM and others that do. */
  readonly isOverChannels?: boolean;
}

/** The estimate, in milliseconds. */
export interface DowntimeEstimate {
  readonly ramMs: number;
  readonly devices: readonly { readonly id: string; readonly ms: number }[];
  readonly totalMs: number;
}

/**
 * Stopping and starting, and telling each other, is many threads' answers: where one takes 1 ms it takes so many milliseconds, and
 * so many for each device. Elsewhere it goes by the cube root, for the few answers that are known vary more than the many of a
 * switchover do. Measured with 1, 2 and 4 devices of some bytes (bench/README.md).
 */
const MACHINE_MS = 4.5;
const DEVICE_MS = 7;
/** A device that takes longer to answer than this does not say how fast threads are (ms). */
const LONGEST_ANSWER_MS = 1;
/** As long as nothing has been asked (ms). */
const USUAL_ANSWER_MS = 0.2;

/** What an estimate is made from. */
export interface DowntimeCosts {
  readonly ramBytes: number;
  /** 0 = not known yet: then nothing can be promised. */
  readonly wireBytesPerMs: number;
  /** What is on its way (default nothing). */
  readonly backlog?: Backlog;
  readonly devices: readonly DeviceCost[];
}

/** Puts it together. */
export function estimateDowntime(costs: DowntimeCosts): DowntimeEstimate {
  const { wireBytesPerMs } = costs;
  const backlogMs = backlogTime(costs);
  const ramMs = timeOf(costs.ramBytes, wireBytesPerMs);
  // The stream has the devices one after the other, as fast as each is read, sent, and taken but for what may be ahead of it;
  // what is ahead they take while the stream goes on.
  let streamMs = backlogMs + ramMs;
  let takenMs = streamMs;
  // Over multifd channels all go at once; what they share is the wire.
  const sharedBytes = costs.devices.reduce((sum, device) => sum + (device.isOverChannels ? device.bytes : 0), 0);
  const sharedMs = timeOf(costs.ramBytes + sharedBytes, wireBytesPerMs);
  const devices = costs.devices.map((device) => {
    const { id, bytes, saveBytesPerSecond, loadBytesPerSecond, aheadBytes = 0, isOverChannels = false } = device;
    const loadMs = (count: number) => (loadBytesPerSecond === 0 ? 0 : timeOf(count, loadBytesPerSecond / 1000));
    const saveMs = saveBytesPerSecond === 0 ? 0 : timeOf(bytes, saveBytesPerSecond / 1000);
    if (isOverChannels) {
      const ms = Math.max(sharedMs, saveMs, loadMs(aheadBytes + bytes));
      takenMs = Math.max(takenMs, backlogMs + ms);
      return { id, ms };
    }
    const beginMs = streamMs;
    streamMs += Math.max(timeOf(bytes, wireBytesPerMs), saveMs, loadMs(Math.max(0, aheadBytes + bytes - AHEAD_BYTES)));
    const endMs = Math.max(streamMs, beginMs + loadMs(aheadBytes + bytes));
    takenMs = Math.max(takenMs, endMs);
    return { id, ms: endMs - beginMs };
  });
  return { ramMs, devices, totalMs: Math.max(streamMs, takenMs) + fixedTime(costs.devices) };
}

/** What a switchover takes apart from all bytes. */
function fixedTime(devices: DowntimeCosts['devices']): number {
  const roots = devices.map(({ answerMs = 0 }) => Math.cbrt(Math.min(answerMs || USUAL_ANSWER_MS, LONGEST_ANSWER_MS)));
  const sum = roots.reduce((total, root) => total + root, 0);
  return MACHINE_MS * (sum / devices.length || Math.cbrt(USUAL_ANSWER_MS)) + DEVICE_MS * sum;
}

/**
 * What is on its way because devices are slower than the wire is read first, as fast as the slowest of them takes its data: one
 * that prepared meanwhile, when nothing was read, has not been as slow as that.
 */
function backlogTime({ backlog, devices }: DowntimeCosts): number {
  const rates = devices.flatMap(({ loadBytesPerSecond }) => (loadBytesPerSecond > 0 ? [loadBytesPerSecond] : []));
  if (backlog === undefined || rates.length === 0) return 0;
  return Math.min(backlog.ms, timeOf(backlog.bytes, Math.min(...rates) / 1000));
}

function timeOf(bytes: number, bytesPerMs: number): number {
  if (bytes === 0) return 0;
  return bytesPerMs === 0 ? Number.POSITIVE_INFINITY : bytes / bytesPerMs;
}
