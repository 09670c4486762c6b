/**
 * Pause, resume and throttle a thread that runs a tight loop, over one SharedArrayBuffer.
 *
 *   owner                                  thread
 *   REQUEST := n·4 + stop, notify   ──▶    poll() sees a new request, leaves its loop,
 *   stop() resolves                 ◀──    ANSWER := REQUEST, notify; then block() until REQUEST changes
 *
 * Every request has a new number, so an answer can only mean the request it repeats: an old `stopped` never passes
 * for a new one, however the two threads interleave.
 */

import { HarnessError } from '../base/errors.ts';

/** Int32 slots of the shared buffer, and behind them BigInt64 ones. */
const SLOT = { REQUEST: 0, ANSWER: 1, THROTTLE: 2, LIMIT: 3 } as const;
const TALLY = { COUNT: 0, HELD_US: 1 } as const;
const TALLY_OFFSET = 16;
const GATE_BYTES = 32;

const COMMANDS = ['stop', 'run', 'close'] as const;
/** What the owner last asked for. */
export type GateCommand = (typeof COMMANDS)[number];

/** ANSWER of a thread that is gone. */
const GONE = -1;
/** Request numbers wrap below the sign bit. */
const REQUEST_MASK = 0x7fff_ffff;

/** Largest throttle: a vCPU always gets one hundredth of its time. */
const MAX_THROTTLE_PERCENT = 99;

/** The owner's side. A new gate asks for `stop`: its thread starts out of its loop. */
export class GateControl {
  readonly share: SharedArrayBuffer;
  readonly #thread: string;
  readonly #slots: Int32Array;
  readonly #tally: BigInt64Array;

  /** `thread` names the other side in errors. */
  constructor(thread: string) {
    this.#thread = thread;
    this.share = new SharedArrayBuffer(GATE_BYTES);
    this.#slots = new Int32Array(this.share);
    this.#tally = new BigInt64Array(this.share, TALLY_OFFSET);
    this.#request('stop');
  }

  /** What was asked last. */
  get command(): GateCommand {
    return commandOf(Atomics.load(this.#slots, SLOT.REQUEST));
  }

  /** What the thread counted so far (vCPUs: pages written). */
  get count(): number {
    return Number(Atomics.load(this.#tally, TALLY.COUNT));
  }

  /** Microseconds that the limit held the thread back so far. */
  get heldUs(): number {
    return Number(Atomics.load(this.#tally, TALLY.HELD_US));
  }

  get throttlePercent(): number {
    return Atomics.load(this.#slots, SLOT.THROTTLE);
  }

  /** Lets the thread run its loop; does nothing when it already may. */
  start(): void {
    if (this.command === 'stop') this.#request('run');
  }

  /**
   * Resolves once the thread is out of its loop; it writes nothing from then on, until `start`.
   * Throws `thread/timeout` when it did not get there within `deadlineMs`, `thread/failed` when it is gone or was
   * started again meanwhile.
   */
  async stop(deadlineMs: number): Promise<void> {
    if (this.command === 'run') this.#request('stop');
    await this.#answered(deadlineMs);
  }

  /** Asks the thread to leave its loop for good. Its end is seen by whoever owns the thread. */
  close(): void {
    if (this.command !== 'close') this.#request('close');
  }

  /** Takes away `percent` (0…99) of the thread's time; the thread's loop sees to it (spec/control.md §7.5). */
  throttle(percent: number): void {
    if (!Number.isInteger(percent) || percent < 0 || percent > MAX_THROTTLE_PERCENT) {
      throw new HarnessError('option/bad-value', {
        option: 'throttle',
        expected: `a whole number of percent, 0 to ${MAX_THROTTLE_PERCENT}`,
        actual: String(percent),
      });
    }
    Atomics.store(this.#slots, SLOT.THROTTLE, percent);
    Atomics.notify(this.#slots, SLOT.REQUEST); // A throttled thread may be asleep for a second.
  }

  /** Lets the thread count at most so many in a second; 0 = as many as it likes. Below 2^31. */
  limit(perSecond: number): void {
    Atomics.store(this.#slots, SLOT.LIMIT, perSecond);
    Atomics.notify(this.#slots, SLOT.REQUEST); // It may be asleep for the old one.
  }

  /** The thread ended: whoever waits for it, now or later, gets `thread/failed`. */
  abandon(): void {
    Atomics.store(this.#slots, SLOT.ANSWER, GONE);
    Atomics.notify(this.#slots, SLOT.ANSWER);
  }

  #request(command: GateCommand): void {
    const number = ((Atomics.load(this.#slots, SLOT.REQUEST) >>> 2) + 1) << 2;
    Atomics.store(this.#slots, SLOT.REQUEST, (number | COMMANDS.indexOf(command)) & REQUEST_MASK);
    Atomics.notify(this.#slots, SLOT.REQUEST);
  }

  async #answered(deadlineMs: number): Promise<void> {
    const request = Atomics.load(this.#slots, SLOT.REQUEST);
    const startedMs = performance.now();
    for (;;) {
      const answer = Atomics.load(this.#slots, SLOT.ANSWER);
      if (answer === request) return;
      if (answer === GONE) throw new HarnessError('thread/failed', { thread: this.#thread, why: 'it has ended' });
      if (Atomics.load(this.#slots, SLOT.REQUEST) !== request) {
        throw new HarnessError('thread/failed', {
          thread: this.#thread,
          why: 'it was started again before it had stopped',
        });
      }
      const waitedMs = performance.now() - startedMs;
      if (waitedMs >= deadlineMs) {
        throw new HarnessError('thread/timeout', {
          thread: this.#thread,
          request: 'stop',
          waitedMs: Math.round(waitedMs),
        });
      }
      await Atomics.waitAsync(this.#slots, SLOT.ANSWER, answer, deadlineMs - waitedMs).value;
    }
  }
}

/** The thread's side. */
export class GateLoop {
  readonly #slots: Int32Array;
  readonly #tally: BigInt64Array;
  #seen = 0;

  constructor(share: SharedArrayBuffer) {
    this.#slots = new Int32Array(share);
    this.#tally = new BigInt64Array(share, TALLY_OFFSET);
  }

  /**
   * What the owner wants, and the answer to it: call only outside of the loop body, when nothing is half done, and
   * write nothing after `stop` until a later call says `run`.
   */
  poll(): GateCommand {
    const request = Atomics.load(this.#slots, SLOT.REQUEST);
    if (request !== this.#seen) {
      this.#seen = request;
      Atomics.store(this.#slots, SLOT.ANSWER, request);
      Atomics.notify(this.#slots, SLOT.ANSWER);
    }
    return commandOf(request);
  }

  /** Blocks this thread for `ms` at most: until the owner asks for something new or changes the throttle. */
  block(ms: number): void {
    Atomics.wait(this.#slots, SLOT.REQUEST, this.#seen, ms);
  }

  get throttlePercent(): number {
    return Atomics.load(this.#slots, SLOT.THROTTLE);
  }

  /** Adds to what the owner reads as `count`. */
  addCount(count: number): void {
    Atomics.add(this.#tally, TALLY.COUNT, BigInt(count));
  }

  /** What the thread may count in a second; 0 = as many as it likes. */
  get limit(): number {
    return Atomics.load(this.#slots, SLOT.LIMIT);
  }

  /** Adds to what the owner reads as `heldUs`. */
  addHeld(us: number): void {
    Atomics.add(this.#tally, TALLY.HELD_US, BigInt(Math.round(us)));
  }
}

function commandOf(request: number): GateCommand {
  return COMMANDS[request & 3] ?? 'stop';
}
