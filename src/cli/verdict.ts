/** What `switchover migrate` concludes: the facts of one migration, whether they are good, as JSON and as a table. */

import { EXIT_CODES } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import type { Ledger } from '../migration/ledger.ts';
import type { MigrationInfo } from '../migration/vm-control.ts';
import { formatLedger } from './ledger-table.ts';

/** One guest's invariant after it ran on the destination. */
export interface GuestOutcome {
  readonly guest: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** What was observed; digests are SHA-256 in hex. */
export interface MigrationObservation {
  /** The source's last query-migrate. */
  readonly info: MigrationInfo;
  /** The source's last `expected-downtime` before the switchover, if it was seen. */
  readonly expectedDowntimeMs?: number;
  readonly sourceSha256: string;
  readonly destinationSha256: string;
  readonly guests: readonly GuestOutcome[];
  /** Whether RAM changed after `cont` on the destination; absent when no guest writes. */
  readonly continued?: boolean;
}

/** The object `switchover migrate --json` prints. */
export interface MigrationVerdict {
  readonly verdict: 'pass' | 'fail';
  readonly totalMs: number;
  readonly setupMs: number;
  /** To a tenth where there is a ledger, else whole, as QEMU tells it. */
  readonly downtimeMs: number;
  /** At the switchover, or the last before it; to a tenth where there is a ledger. */
  readonly expectedDowntimeMs: number | null;
  readonly iterations: number;
  readonly transferredBytes: number;
  readonly ramBytes: number;
  readonly mbps: number;
  readonly ramEqual: boolean;
  /** The source's RAM after the migration. */
  readonly sha256: string;
  readonly destinationSha256: string;
  readonly guests: readonly GuestOutcome[];
  /** Whether the guest went on writing on the destination; null when none writes. */
  readonly guestContinued: boolean | null;
  /** What QEMU's rule, which knows RAM only, expected; null without VFIO devices. */
  readonly expectedDowntimeByRamMs: number | null;
  /** VFIO devices that were acknowledged: how long after the start (ms). */
  readonly ackMs: Readonly<Record<string, number>>;
  /** Where the downtime went; null when the machine is one that QEMU has too. */
  readonly ledger: Ledger | null;
}

/** Draws the conclusion: pass when RAM is equal, every guest's invariant holds and a writing guest went on. */
export function verdictOf(seen: MigrationObservation): MigrationVerdict {
  const { info } = seen;
  const ramEqual = seen.sourceSha256 === seen.destinationSha256;
  const pass = ramEqual && seen.guests.every((guest) => guest.ok) && seen.continued !== false;
  return {
    verdict: pass ? 'pass' : 'fail',
    totalMs: info['total-time'] ?? 0,
    setupMs: info['setup-time'] ?? 0,
    downtimeMs: tenths(info['x-switchover']?.ledger?.downtimeMs ?? info.downtime ?? 0),
    expectedDowntimeMs: tenthsOrNull(info['x-switchover']?.['expected-downtime'] ?? seen.expectedDowntimeMs),
    iterations: info.ram?.['dirty-sync-count'] ?? 0,
    transferredBytes: info.ram?.transferred ?? 0,
    ramBytes: info.ram?.total ?? 0,
    mbps: info.ram?.mbps ?? 0,
    ramEqual,
    sha256: seen.sourceSha256,
    destinationSha256: seen.destinationSha256,
    guests: seen.guests,
    guestContinued: seen.continued ?? null,
    expectedDowntimeByRamMs: tenthsOrNull(info['x-switchover']?.['expected-downtime-by-ram']),
    ackMs: Object.fromEntries(
      (info['x-switchover']?.devices ?? []).flatMap((device) =>
        device['ack-ms'] === undefined ? [] : [[device.id, device['ack-ms']]],
      ),
    ),
    ledger: info['x-switchover']?.ledger ?? null,
  };
}

function tenthsOrNull(ms: number | undefined): number | null {
  return ms === undefined || !Number.isFinite(ms) ? null : tenths(ms);
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

/** The exit code a verdict stands for. */
export function exitCodeOfVerdict(verdict: Pick<MigrationVerdict, 'verdict'>): number {
  return verdict.verdict === 'pass' ? EXIT_CODES.ok : EXIT_CODES.expectation;
}

/** The verdict as an aligned table; `paint` may colour the words that judge. */
export function formatVerdict(verdict: MigrationVerdict, paint = (text: string, _good: boolean) => text): string {
  const yes = (good: boolean, text: string) => paint(text, good);
  const expected = verdict.expectedDowntimeMs === null ? '' : ` (expected ${verdict.expectedDowntimeMs} ms)`;
  const rows: [string, string][] = [
    ['total time', `${verdict.totalMs} ms (setup ${verdict.setupMs} ms)`],
    ['downtime', `${verdict.downtimeMs} ms${expected}`],
    ['iterations', String(verdict.iterations)],
    ['transferred', `${formatSize(verdict.transferredBytes)} for ${formatSize(verdict.ramBytes)} of RAM`],
    ['throughput', `${(verdict.mbps / 8).toFixed(1)} MB/s`],
    [
      'RAM',
      verdict.ramEqual
        ? `${yes(true, 'equal')} on both sides, sha256 ${verdict.sha256}`
        : `${yes(false, 'DIFFERENT')}: source ${verdict.sha256}, destination ${verdict.destinationSha256}`,
    ],
    ...Object.entries(verdict.ackMs).map(([id, ms]): [string, string] => [id, `ready and acknowledged after ${ms} ms`]),
    ...verdict.guests.map((guest): [string, string] => [
      guest.guest,
      `${yes(guest.ok, guest.ok ? 'ok' : 'BROKEN')}: ${guest.detail}`,
    ]),
  ];
  if (verdict.guestContinued !== null) {
    const good = verdict.guestContinued;
    rows.push(['after', yes(good, good ? 'the guest went on writing on the destination' : 'the guest did NOT go on')]);
  }
  rows.push(['verdict', yes(verdict.verdict === 'pass', verdict.verdict)]);
  const table = formatRows(rows);
  return verdict.ledger === null ? table : `${formatLedger(verdict.ledger)}\n${table}`;
}

/** Labels and texts as an aligned table. */
export function formatRows(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `${label.padEnd(width)}  ${text}\n`).join('');
}
