/** Self-announcement: when its rounds come, from the parameters and by command (spec/control.md §5.9). */

import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { createLogger, type Logger } from '../../src/base/log.ts';
import { SelfAnnouncer } from '../../src/migration/self-announce.ts';
import { tempDir } from '../support/temp.ts';
import { WatchedVm } from '../support/watched-vm.ts';

/** A logger that keeps what rounds say, and when. */
function listening(clock: ManualClock) {
  const rounds: { atMs: number; id: string; round: number }[] = [];
  const info = (fields: { id: string; round: number }, text: string) => {
    if (text === 'self-announcement') rounds.push({ atMs: clock.nowMs(), id: fields.id, round: fields.round });
  };
  // The announcer says `info` and nothing else.
  return { rounds, log: { info } as unknown as Logger };
}

async function run(clock: ManualClock, ms: number): Promise<void> {
  for (let done = 0; done < ms; done += 10) {
    clock.advance(10);
    await turn();
  }
}

const DEFAULTS = { initial: 50n, max: 550n, rounds: 5n, step: 100n };

test.each([
  [DEFAULTS, [0, 50, 200, 450, 800]],
  [{ ...DEFAULTS, rounds: 1n }, [0]],
  [{ ...DEFAULTS, rounds: 0n }, []],
  [{ initial: 500n, max: 600n, rounds: 4n, step: 200n }, [0, 500, 1100, 1700]],
  // As QEMU's command: what makes no sense waits for the longest.
  [{ initial: -1n, max: 100n, rounds: 3n, step: -5n }, [0, 100, 200]],
])('%o announces at %o ms', async (parameters, times) => {
  const clock = new ManualClock();
  const { rounds, log } = listening(clock);
  using announcer = new SelfAnnouncer({ clock, log });
  announcer.announce(parameters);
  await run(clock, 3000);
  expect(rounds.map(({ atMs }) => atMs)).toEqual(times);
  expect(rounds.map(({ round }) => round)).toEqual(times.map((_, index) => index + 1));
});

test('the same id begins anew, another one goes beside it', async () => {
  const clock = new ManualClock();
  const { rounds, log } = listening(clock);
  using announcer = new SelfAnnouncer({ clock, log });
  const slow = { initial: 100n, max: 100n, rounds: 3n, step: 0n };
  announcer.announce(slow, { id: 'a' });
  announcer.announce(slow, { id: 'b' });
  await run(clock, 50);
  announcer.announce(slow, { id: 'a' });
  await run(clock, 1000);
  expect(rounds.filter(({ id }) => id === 'a').map(({ atMs }) => atMs)).toEqual([0, 50, 150, 250]);
  expect(rounds.filter(({ id }) => id === 'b').map(({ atMs }) => atMs)).toEqual([0, 100, 200]);
});

test('a machine that goes away stops announcing', async () => {
  const clock = new ManualClock();
  const { rounds, log } = listening(clock);
  const announcer = new SelfAnnouncer({ clock, log });
  const { done } = announcer.announce(DEFAULTS);
  announcer[Symbol.dispose]();
  await done;
  await run(clock, 1000);
  expect(rounds.length).toBe(1);
});

test('a destination announces itself with its own parameters once everything has arrived', async () => {
  await using dir = await tempDir();
  const uri = `file:${dir.file('stream')}`;
  await using source = await WatchedVm.start();
  await source.vm.migrate({ uri });
  expect(await source.ended()).toBe('completed');
  const { rounds, log } = listening(new ManualClock());
  const all = { ...createLogger(), info: log.info, child: () => all } as unknown as Logger;
  const parameters = { 'announce-rounds': 3, 'announce-initial': 0, 'announce-step': 1 };
  await using destination = await WatchedVm.start({ incoming: uri, parameters, log: all });
  expect(await destination.ended()).toBe('completed');
  while (rounds.length < 3) await turn();
  expect(rounds.map(({ round }) => round)).toEqual([1, 2, 3]);
});
