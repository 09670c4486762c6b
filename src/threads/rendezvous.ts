/**
 * Threads that stop at agreed points until their owner lets all of them go on.
 *
 *   thread   arrive() ──▶ blocks until it was released as often as it arrived      leave(): it will not arrive again
 *   owner    waits with the bell until all have arrived, then release()             end(): nobody need wait any more
 */

import { Bell } from './bell.ts';

const SLOT = { RELEASED: 0, ENDED: 1, MEMBERS: 2 } as const;
/** Slots of each member. */
const MEMBER = { ARRIVED: 0, LEFT: 1, SLOTS: 2 } as const;

/** What a member's thread needs. */
export interface RendezvousShare {
  readonly slots: SharedArrayBuffer;
  readonly arrivals: SharedArrayBuffer;
  readonly releases: SharedArrayBuffer;
}

/** Both ends; members are numbered from 0. */
export class Rendezvous {
  readonly share: RendezvousShare;
  readonly #slots: Int32Array;
  /** Rung when a member arrived or left. */
  readonly arrivals: Bell;
  readonly #releases: Bell;

  /** For `members` threads, or one thread's end of another's. */
  constructor(members: number | RendezvousShare) {
    const fresh = typeof members === 'number';
    const slots = fresh ? new SharedArrayBuffer((SLOT.MEMBERS + members * MEMBER.SLOTS) * 4) : members.slots;
    this.#slots = new Int32Array(slots);
    this.arrivals = fresh ? new Bell() : new Bell(members.arrivals);
    this.#releases = fresh ? new Bell() : new Bell(members.releases);
    this.share = { slots, arrivals: this.arrivals.share, releases: this.#releases.share };
  }

  // ── members ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Blocks this thread until the owner releases; false when it ended everything instead. */
  arrive(member: number): boolean {
    const mine = this.#arrived(member);
    for (;;) {
      const seen = this.#releases.count;
      if (this.#load(SLOT.ENDED) === 1) return false;
      if (this.#load(SLOT.RELEASED) >= mine) return true;
      this.#releases.block(seen);
    }
  }

  /** As `arrive`, without blocking. */
  async arriveLater(member: number): Promise<boolean> {
    const mine = this.#arrived(member);
    for (;;) {
      const seen = this.#releases.count;
      if (this.#load(SLOT.ENDED) === 1) return false;
      if (this.#load(SLOT.RELEASED) >= mine) return true;
      await this.#releases.wait(seen, Number.POSITIVE_INFINITY);
    }
  }

  /** Says that this member will not arrive any more. */
  leave(member: number): void {
    Atomics.store(this.#slots, this.#slot(member, MEMBER.LEFT), 1);
    this.arrivals.ring();
  }

  // ── owner ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The member waits for the next release. */
  isHere(member: number): boolean {
    return this.#load(this.#slot(member, MEMBER.ARRIVED)) > this.#load(SLOT.RELEASED);
  }

  hasLeft(member: number): boolean {
    return this.#load(this.#slot(member, MEMBER.LEFT)) === 1;
  }

  /** Lets everybody who is here go on. */
  release(): void {
    Atomics.add(this.#slots, SLOT.RELEASED, 1);
    this.#releases.ring();
  }

  /** Lets everybody go, now and later. */
  end(): void {
    Atomics.store(this.#slots, SLOT.ENDED, 1);
    this.#releases.ring();
  }

  #arrived(member: number): number {
    const mine = Atomics.add(this.#slots, this.#slot(member, MEMBER.ARRIVED), 1) + 1;
    this.arrivals.ring();
    return mine;
  }

  #slot(member: number, slot: number): number {
    return SLOT.MEMBERS + member * MEMBER.SLOTS + slot;
  }

  #load(slot: number): number {
    return Atomics.load(this.#slots, slot);
  }
}
