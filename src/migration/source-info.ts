/** The source's part of query-migrate, from everything that knows a piece of it (spec/control.md §5.3). Pure. */

import type { GuestThrottle } from './guest-throttle.ts';
import type { Ledger } from './ledger.ts';
import type { PeerKnowledge } from './peer-extension.ts';
import type { RamSender } from './ram/ram-sender.ts';
import type { SectionSaver } from './section-saver.ts';
import type { SourceStats } from './stats.ts';
import type { MigrationStatus } from './status.ts';
import type { SwitchoverJudge } from './switchover-judge.ts';
import type { SourceAck } from './vfio/switchover-ack.ts';
import type { MigrationInfo, SwitchoverInfo } from './vm-control.ts';

/** What there is to tell; parts that setup makes are undefined before. */
export interface SourceFacts {
  readonly status: MigrationStatus;
  readonly error: Error | undefined;
  readonly stats: SourceStats;
  readonly ram: RamSender | undefined;
  readonly sections: SectionSaver | undefined;
  /** What the way that RAM goes has to tell. */
  readonly ramPath: Pick<MigrationInfo, 'xbzrle-cache' | 'compression'>;
  /** What the guest is slowed down by. */
  readonly throttle: Pick<GuestThrottle, 'percent' | 'roundTimes'>;
  /** On machine types that QEMU does not have: what its reply does not have either. */
  readonly switchover:
    | {
        readonly peer: PeerKnowledge;
        readonly ack: SourceAck;
        readonly ackMs: ReadonlyMap<string, number>;
        readonly judge: SwitchoverJudge | undefined;
        readonly ledger: Ledger | undefined;
      }
    | undefined;
}

/** Members are there when QEMU's are. */
export function sourceInfo(facts: SourceFacts): MigrationInfo {
  const { status, stats, ram, sections } = facts;
  const error = facts.error === undefined ? {} : { 'error-desc': facts.error.message };
  if (status === 'none' || status === 'setup' || status === 'failed' || status === 'cancelled') {
    return { status, ...error };
  }
  const done = status === 'completed';
  const vfio = sections?.vfio ?? [];
  return {
    status,
    'setup-time': stats.setupMs,
    'total-time': stats.totalTimeMs(),
    ...(done ? { downtime: stats.downtimeMs ?? 0 } : { 'expected-downtime': stats.expectedDowntimeMs }),
    ...(vfio.length > 0 ? { vfio: { transferred: vfio.reduce((sum, device) => sum + device.transferred, 0) } } : {}),
    ...throttleInfo(facts.throttle),
    ram: stats.ram({ totalBytes: ram?.totalBytes ?? 0, remainingBytes: ram?.pendingBytes ?? 0, done }),
    ...facts.ramPath,
    ...(facts.switchover === undefined ? {} : { 'x-switchover': switchoverInfo(facts.switchover, sections, stats) }),
    ...error,
  };
}

function throttleInfo({ percent, roundTimes }: SourceFacts['throttle']): Partial<MigrationInfo> {
  return {
    ...(percent === undefined ? {} : { 'cpu-throttle-percentage': percent }),
    ...(roundTimes === undefined
      ? {}
      : {
          'dirty-limit-throttle-time-per-round': roundTimes.throttleUs,
          'dirty-limit-ring-full-time': roundTimes.ringFullUs,
        }),
  };
}

function switchoverInfo(
  facts: NonNullable<SourceFacts['switchover']>,
  sections: SectionSaver | undefined,
  stats: SourceStats,
): SwitchoverInfo {
  const { peer, ack, ackMs, judge, ledger } = facts;
  const estimate = judge?.estimate;
  return {
    peer: peer.isSwitchover ? 'switchover' : 'unknown',
    devices: (sections?.vfio ?? []).map(({ id, isInitialPending }) => ({
      id,
      ready: !isInitialPending && !ack.withheldBy.includes(id),
      ...(ackMs.has(id) ? { 'ack-ms': ackMs.get(id)! } : {}),
    })),
    ...(ack.isOn ? { 'ack-withheld-by': ack.withheldBy } : {}),
    ...(estimate === undefined
      ? {}
      : { 'expected-downtime': estimate.totalMs, 'expected-downtime-by-ram': stats.expectedDowntimeMs }),
    ...(ledger === undefined ? {} : { ledger }),
  };
}
