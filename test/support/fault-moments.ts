/**
 * Moments of a migration at which something may go wrong, chosen from a seed: by the status that they are to meet, by
 * bytes, by turns of the event loop, and in the middle of whatever emits an event; never by time.
 */

import { turn, turnUntil, type WatchedVm } from './watched-vm.ts';

/** Statuses that a fault is aimed at. */
export const AIMS = [
  'setup',
  'active',
  'pre-switchover',
  'device',
  'cancelling',
  'completed',
  'failed',
  'cancelled',
] as const;
/** One of them. */
export type Aim = (typeof AIMS)[number];

/** Events of the source in each of them. */
const EVENTS: Readonly<Record<Aim, readonly string[]>> = {
  setup: ['M:setup', 'PASS:1'],
  active: ['M:active', 'PASS:2', 'STOP'],
  'pre-switchover': ['M:pre-switchover'],
  device: ['M:device'],
  cancelling: ['M:cancelling'],
  completed: ['M:completed'],
  failed: ['M:failed'],
  cancelled: ['M:cancelled'],
};
/** What has to be done first, so that the status is met: cancel or break the migration at this event. */
const FIRST: { readonly [A in Aim]?: 'cancel' | 'yank' } = {
  cancelling: 'cancel',
  cancelled: 'cancel',
  failed: 'yank',
};
const FIRST_AT = ['M:setup', 'M:active', 'STOP', 'M:device'] as const;
const MOST_TURNS = 12;
const MIB = 1 << 20;

/** When something happens, and on the way to it. */
export interface Moment {
  readonly aim: Aim;
  /** The source's event that is waited for, unless it is `bytes`. */
  readonly event: string;
  /** Turns of the event loop after the event; 0 is in the middle of what emits it. */
  readonly turns: number;
  /** When the source has sent so many. */
  readonly bytes: number | undefined;
  readonly first: { readonly act: 'cancel' | 'yank'; readonly event: string } | undefined;
  readonly pause: boolean;
  /** Bytes per second; 0 is without limit. */
  readonly bandwidth: number;
}

/** The moment aimed at `aim`; `below` is the chance, `streamBytes` about what the source sends. */
export function momentOf(aim: Aim, below: (limit: number) => number, streamBytes: number): Moment {
  const events = EVENTS[aim];
  const act = FIRST[aim];
  return {
    aim,
    event: events[below(events.length)]!,
    turns: below(2) * below(MOST_TURNS),
    bytes: aim === 'active' && below(2) === 1 ? below(streamBytes) : undefined,
    first: act === undefined ? undefined : { act, event: FIRST_AT[below(FIRST_AT.length)]! },
    pause: aim === 'pre-switchover' || (aim === 'device' && below(2) === 1),
    bandwidth: [0, 32 * MIB][below(2)]!,
  };
}

/** The status as query-migrate has it. */
export function statusOf({ vm }: WatchedVm): string {
  return vm.queryMigrate().status ?? 'none';
}

/** What happened: the status that was met, how the migration ended, and its events. */
export interface Outcome {
  readonly met: string;
  readonly ended: string;
  readonly events: readonly string[];
}

/** Migrates to `uri` and does `act` at the moment, or when the migration is over before that; resolves with its end. */
export async function migrateUntil(
  source: WatchedVm,
  uri: string,
  moment: Moment,
  act: () => Promise<unknown>,
): Promise<Outcome> {
  const { vm } = source;
  const mark = source.events.length;
  vm.setCapabilities([{ capability: 'pause-before-switchover', state: moment.pause }]);
  vm.setParameters({ 'max-bandwidth': moment.bandwidth });
  let met: string | undefined;
  const acting = Promise.withResolvers<unknown>();
  const actNow = () => {
    if (met !== undefined) return;
    met = statusOf(source);
    act().then(acting.resolve, acting.reject);
  };
  const goOn = () => void vm.migrateContinue('pre-switchover').catch(() => undefined); // it may be over by now
  source.once('M:pre-switchover', () => {
    if (moment.aim !== 'pre-switchover' || met !== undefined) goOn();
  });
  const { first } = moment;
  if (first !== undefined) source.once(first.event, () => (first.act === 'yank' ? vm.yank() : void vm.migrateCancel()));
  if (moment.bytes === undefined && moment.turns === 0) source.once(moment.event, actNow);
  await vm.migrate({ uri });
  const ended = source.ended(mark);
  let isOver = false;
  void ended.then(() => (isOver = true));
  const { bytes } = moment;
  if (bytes !== undefined) await turnUntil(() => isOver || (vm.queryMigrate().ram?.transferred ?? 0) >= bytes);
  else await Promise.race([source.event([moment.event], mark), ended]);
  for (let turns = 0; turns < moment.turns && (!isOver || moment.first !== undefined); turns += 1) await turn();
  actNow();
  // At a rate that the guest outruns, a migration that nothing ended may never end by itself.
  vm.setParameters({ 'max-bandwidth': 0 });
  if (statusOf(source) === 'pre-switchover') goOn();
  await acting.promise;
  const end = await ended;
  return { met: met ?? 'none', ended: end, events: source.events.slice(mark) };
}
