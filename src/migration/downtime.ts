/**
 * How long the guest would stand still if it were stopped now: RAM by the wire's speed, as QEMU reckons, and every VFIO device
 * by the slowest of reading it, sending it and loading it, which go on at the same time. What a destination still has to
 * prepare is not part of it: that is what switchover-ack waits for. Pure.
 */

import { AHEAD_BYTES } from './vfio/vfio-load.ts';

/** What is known of one device. */
export interface DeviceCost {
  readonly id: string;
  /** What STOP_COPY will carry. */
  readonly bytes: number;
  /** Measured; 0 = not known, which counts as no cost. */
  readonly saveBytesPerSecond: number;
  readonly loadBytesPerSecond: number;
  /** It goes over multifd channels, at the same time as RAM and others that do. */
  readonly isOverChannels?: boolean;
}

/** The estimate, in milliseconds. */
export interface DowntimeEstimate {
  readonly ramMs: number;
  readonly devices: readonly { readonly id: string; readonly ms: number }[];
  readonly totalMs: number;
}

/** Stopping and starting a machine and telling each other, apart from all bytes (ms); `bench switchover-ack`, row crypto. */
const FIXED_MS = 9;
/** What each device adds to that (ms); the same row. */
const FIXED_DEVICE_MS = 1.5;

/** `wireBytesPerMs` 0 = not known yet: then nothing can be promised. */
export function estimateDowntime(costs: {
  readonly ramBytes: number;
  readonly wireBytesPerMs: number;
  readonly devices: readonly DeviceCost[];
}): DowntimeEstimate {
  const { wireBytesPerMs } = costs;
  const ramMs = timeOf(costs.ramBytes, wireBytesPerMs);
  // The stream has the devices one after the other, as fast as each is read, sent, and taken but for what may be ahead of it;
  // what is ahead they take while the stream goes on.
  let streamMs = ramMs;
  let takenMs = ramMs;
  // Over multifd channels all go at once; what they share is the wire.
  const sharedBytes = costs.devices.reduce((sum, device) => sum + (device.isOverChannels ? device.bytes : 0), 0);
  const sharedMs = timeOf(costs.ramBytes + sharedBytes, wireBytesPerMs);
  const devices = costs.devices.map(({ id, bytes, saveBytesPerSecond, loadBytesPerSecond, isOverChannels = false }) => {
    const loadMs = (count: number) => (loadBytesPerSecond === 0 ? 0 : timeOf(count, loadBytesPerSecond / 1000));
    const saveMs = saveBytesPerSecond === 0 ? 0 : timeOf(bytes, saveBytesPerSecond / 1000);
    if (isOverChannels) {
      const ms = Math.max(sharedMs, saveMs, loadMs(bytes));
      takenMs = Math.max(takenMs, ms);
      return { id, ms };
    }
    const beginMs = streamMs;
    streamMs += Math.max(timeOf(bytes, wireBytesPerMs), saveMs, loadMs(Math.max(0, bytes - AHEAD_BYTES)));
    const endMs = Math.max(streamMs, beginMs + loadMs(bytes));
    takenMs = Math.max(takenMs, endMs);
    return { id, ms: endMs - beginMs };
  });
  const fixedMs = FIXED_MS + FIXED_DEVICE_MS * devices.length;
  return { ramMs, devices, totalMs: Math.max(streamMs, takenMs) + fixedMs };
}

function timeOf(bytes: number, bytesPerMs: number): number {
  if (bytes === 0) return 0;
  return bytesPerMs === 0 ? Number.POSITIVE_INFINITY : bytes / bytesPerMs;
}
