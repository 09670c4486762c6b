/**
 * How long the guest would stand still if it were stopped now: RAM by the wire's speed, as QEMU reckons, and every VFIO device
 * by the slowest of reading it, sending it and loading it, which go on at the same time. What a destination still has to
 * prepare is not part of it: that is what switchover-ack waits for. Pure.
 */

/** What is known of one device. */
export interface DeviceCost {
  readonly id: string;
  /** What STOP_COPY will carry. */
  readonly bytes: number;
  /** Measured; 0 = not known, which counts as no cost. */
  readonly saveBytesPerSecond: number;
  readonly loadBytesPerSecond: number;
}

/** The estimate, in milliseconds. */
export interface DowntimeEstimate {
  readonly ramMs: number;
  readonly devices: readonly { readonly id: string; readonly ms: number }[];
  readonly totalMs: number;
}

/** Stopping and starting a machine and telling each other, apart from all bytes (ms; median of many ledgers). */
const FIXED_MS = 6;

/** `wireBytesPerMs` 0 = not known yet: then nothing can be promised. */
export function estimateDowntime(costs: {
  readonly ramBytes: number;
  readonly wireBytesPerMs: number;
  readonly devices: readonly DeviceCost[];
}): DowntimeEstimate {
  const { ramBytes, wireBytesPerMs } = costs;
  const devices = costs.devices.map(({ id, bytes, saveBytesPerSecond, loadBytesPerSecond }) => ({
    id,
    ms: Math.max(
      timeOf(bytes, wireBytesPerMs),
      saveBytesPerSecond === 0 ? 0 : timeOf(bytes, saveBytesPerSecond / 1000),
      loadBytesPerSecond === 0 ? 0 : timeOf(bytes, loadBytesPerSecond / 1000),
    ),
  }));
  const ramMs = timeOf(ramBytes, wireBytesPerMs);
  return { ramMs, devices, totalMs: devices.reduce((sum, { ms }) => sum + ms, ramMs + FIXED_MS) };
}

function timeOf(bytes: number, bytesPerMs: number): number {
  if (bytes === 0) return 0;
  return bytesPerMs === 0 ? Number.POSITIVE_INFINITY : bytes / bytesPerMs;
}
