import { expect, test } from 'vitest';
import { Rendezvous } from '../../src/threads/rendezvous.ts';

test('members wait until the owner releases as often as they arrived', async () => {
  const owner = new Rendezvous(2);
  const members = [new Rendezvous(owner.share), new Rendezvous(owner.share)] as const;
  expect(owner.isHere(0)).toBe(false);
  const first = members[0].arriveLater(0);
  expect([owner.isHere(0), owner.isHere(1)]).toEqual([true, false]);
  const second = members[1].arriveLater(1);
  owner.release();
  expect(await Promise.all([first, second])).toEqual([true, true]);
  expect([owner.isHere(0), owner.isHere(1)]).toEqual([false, false]);
  owner.release(); // ahead: the next arrival need not wait
  expect(members[0].arrive(0)).toBe(true);
});

test('the end lets everybody go, and leaving is seen', async () => {
  const owner = new Rendezvous(1);
  const member = new Rendezvous(owner.share);
  const waiting = member.arriveLater(0);
  owner.end();
  expect(await waiting).toBe(false);
  expect(member.arrive(0)).toBe(false);
  const seen = owner.arrivals.count;
  member.leave(0);
  await owner.arrivals.wait(seen, 60_000);
  expect(owner.hasLeft(0)).toBe(true);
});
