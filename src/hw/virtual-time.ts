/**
 * Virtual time: how long the guest has run. One clock in shared memory, owned by the machine and read by every device's
 * thread; it counts in nanoseconds of the system's monotonic clock, which all threads share. `ManualTime` is cranked by
 * hand.
 */

/** Virtual time as a device host sees it. */
export interface VirtualTime {
  /** Nanoseconds. */
  nowNs(): bigint;
  /** Calls back once virtual time has reached `atNs`; the returned function takes that back. Only while the clock runs. */
  at(atNs: bigint, callback: () => void): () => void;
}

/** BigInt64 slots of the shared clock. BASE is the virtual time when STARTED (monotonic ns, 0 = stopped) was set. */
const SLOT = { SEQUENCE: 0, BASE: 1, STARTED: 2 } as const;
const SHARE_BYTES = 24;
const NS_PER_MS = 1_000_000n;
/** Longest single timeout that Node takes (ms). */
const LONGEST_MS = 2_147_483_647n;

/** The machine's clock, and every thread's view of it. */
export class SharedTime implements VirtualTime {
  readonly share: SharedArrayBuffer;
  readonly #slots: BigInt64Array;
  readonly #monotonicNs: () => bigint;

  /** Without `share` a new clock, stopped at 0. */
  constructor(share?: SharedArrayBuffer, monotonicNs: () => bigint = process.hrtime.bigint) {
    this.share = share ?? new SharedArrayBuffer(SHARE_BYTES);
    this.#slots = new BigInt64Array(this.share);
    this.#monotonicNs = monotonicNs;
  }

  get running(): boolean {
    return Atomics.load(this.#slots, SLOT.STARTED) !== 0n;
  }

  nowNs(): bigint {
    for (;;) {
      // An odd sequence number, or one that changed meanwhile: the owner is writing.
      const before = Atomics.load(this.#slots, SLOT.SEQUENCE);
      const base = Atomics.load(this.#slots, SLOT.BASE);
      const started = Atomics.load(this.#slots, SLOT.STARTED);
      if ((before & 1n) === 0n && Atomics.load(this.#slots, SLOT.SEQUENCE) === before) {
        return started === 0n ? base : base + this.#monotonicNs() - started;
      }
    }
  }

  at(atNs: bigint, callback: () => void): () => void {
    let timer: NodeJS.Timeout;
    const wait = () => {
      const leftNs = atNs - this.nowNs();
      if (leftNs <= 0n) return callback();
      const ms = (leftNs + NS_PER_MS - 1n) / NS_PER_MS;
      timer = setTimeout(wait, Number(ms > LONGEST_MS ? LONGEST_MS : ms));
    };
    timer = setTimeout(wait, 0); // never inside the caller
    return () => clearTimeout(timer);
  }

  /** Owner: lets the clock run. */
  start(): void {
    if (!this.running) this.#store(this.nowNs(), this.#monotonicNs());
  }

  /** Owner: holds the clock. */
  stop(): void {
    if (this.running) this.#store(this.nowNs(), 0n);
  }

  /** Owner: adopts a time that arrived with a migration; the clock must be stopped. */
  set(ns: bigint): void {
    this.#store(ns, 0n);
  }

  #store(base: bigint, started: bigint): void {
    Atomics.add(this.#slots, SLOT.SEQUENCE, 1n);
    Atomics.store(this.#slots, SLOT.BASE, base);
    Atomics.store(this.#slots, SLOT.STARTED, started);
    Atomics.add(this.#slots, SLOT.SEQUENCE, 1n);
  }
}

/** Virtual time that moves only when told. */
export class ManualTime implements VirtualTime {
  #now = 0n;
  #waiting: { readonly atNs: bigint; readonly callback: () => void }[] = [];

  nowNs(): bigint {
    return this.#now;
  }

  at(atNs: bigint, callback: () => void): () => void {
    const entry = { atNs, callback };
    this.#waiting.push(entry);
    return () => {
      this.#waiting = this.#waiting.filter((row) => row !== entry);
    };
  }

  /** Sets the time without calling anybody, as a migration does. */
  set(ns: bigint): void {
    this.#now = ns;
  }

  /** Moves time forward by `ns`, stopping at every due callback on the way. */
  advance(ns: bigint): void {
    const end = this.#now + ns;
    for (;;) {
      const due = this.#waiting.filter((row) => row.atNs <= end).sort((a, b) => (a.atNs < b.atNs ? -1 : 1))[0];
      if (due === undefined) break;
      this.#waiting = this.#waiting.filter((row) => row !== due);
      if (due.atNs > this.#now) this.#now = due.atNs;
      due.callback();
    }
    this.#now = end;
  }
}
