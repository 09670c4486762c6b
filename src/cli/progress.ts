/**
 * A running migration on the terminal: one line that is redrawn, or plain lines where the output is not a terminal
 * (one per change of phase or pass, and at most one a second between).
 */

import { formatSize } from '../base/units.ts';
import type { MigrationInfo } from '../migration/vm-control.ts';

/** One look at a running migration. Rates are bytes per second. */
export interface ProgressSample {
  readonly elapsedMs: number;
  readonly phase: string;
  /** `dirty-sync-count`: how often the dirty bitmap was read. */
  readonly iteration: number;
  readonly remainingBytes: number;
  readonly bytesPerSecond: number;
  readonly dirtyBytesPerSecond: number;
  /** VFIO devices: whether each is ready for switchover. */
  readonly devices: readonly { readonly id: string; readonly ready: boolean }[];
}

/** Where lines go; `process.stderr` is one. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const PLAIN_INTERVAL_MS = 1000;
const CLEAR_LINE = '\r\u001b[2K';

/** Reads a sample out of a query-migrate reply; what the reply leaves out is zero. */
export function sampleOf(info: MigrationInfo, elapsedMs: number): ProgressSample {
  const ram = info.ram;
  return {
    elapsedMs,
    phase: info.status ?? 'none',
    iteration: ram?.['dirty-sync-count'] ?? 0,
    remainingBytes: ram?.remaining ?? 0,
    bytesPerSecond: ((ram?.mbps ?? 0) * 1e6) / 8,
    dirtyBytesPerSecond: (ram?.['dirty-pages-rate'] ?? 0) * (ram?.['page-size'] ?? 0),
    devices: info['x-switchover']?.devices ?? [],
  };
}

/** One sample as a line of fixed columns. */
export function formatProgress(sample: ProgressSample): string {
  return [
    `${(sample.elapsedMs / 1000).toFixed(1).padStart(6)} s`,
    sample.phase.padEnd(14),
    `iteration ${String(sample.iteration).padStart(3)}`,
    `remaining ${formatSize(sample.remainingBytes).padStart(10)}`,
    `${(sample.bytesPerSecond / 1e6).toFixed(1).padStart(7)} MB/s`,
    `dirtying ${formatSize(sample.dirtyBytesPerSecond)}/s`,
    ...sample.devices.map(({ id, ready }) => `${id} ${ready ? 'ready' : 'preparing'}`),
  ].join('  ');
}

/** Shows samples on a stream; call `end` before anything else is written there. */
export class ProgressReporter {
  readonly #stream: ProgressStream;
  #last: ProgressSample | undefined;
  #lineOpen = false;

  constructor(stream: ProgressStream) {
    this.#stream = stream;
  }

  /** Shows this sample if it says something new. */
  update(sample: ProgressSample): void {
    if (this.#stream.isTTY === true) {
      const line = formatProgress(sample);
      // A line that wraps cannot be redrawn in place.
      this.#stream.write(CLEAR_LINE + line.slice(0, Math.max(1, (this.#stream.columns ?? 120) - 1)));
      this.#lineOpen = true;
      return;
    }
    const last = this.#last;
    const readiness = (devices: ProgressSample['devices']) => devices.map(({ ready }) => Number(ready)).join('');
    const changed =
      last === undefined ||
      last.phase !== sample.phase ||
      // A device that waits for its ack lets one pass follow the other, hundreds a second.
      (last.iteration !== sample.iteration && sample.devices.length === 0) ||
      readiness(last.devices) !== readiness(sample.devices);
    if (!changed && sample.elapsedMs - last.elapsedMs < PLAIN_INTERVAL_MS) return;
    this.#last = sample;
    this.#stream.write(`${formatProgress(sample)}\n`);
  }

  /** Says what happens beside the migration itself, on a line of its own. */
  note(text: string): void {
    this.end();
    this.#stream.write(`${text}\n`);
  }

  /** Leaves the redrawn line standing and goes to the next. */
  end(): void {
    if (this.#lineOpen) this.#stream.write('\n');
    this.#lineOpen = false;
  }
}
