/**
 * What a destination has for its devices to allocate from: one limit for all devices of a machine, counted in shared memory
 * because each device allocates in its own thread. Who wants more than there is left is refused with the figures.
 */

import { HarnessError } from '../../base/errors.ts';

/** What a machine's devices may allocate without `-machine resources=SIZE` (bytes). */
export const DEFAULT_RESOURCE_BYTES = 16 * 2 ** 30;

/** BigInt64 slots: the limit, then what each device uses. */
const LIMIT = 0;
const FIRST_DEVICE = 1;

/** The pool of one machine. */
export class ResourcePool {
  readonly share: SharedArrayBuffer;

  constructor(options: { limitBytes: number; deviceCount: number }) {
    this.share = new SharedArrayBuffer((FIRST_DEVICE + options.deviceCount) * BigInt64Array.BYTES_PER_ELEMENT);
    new BigInt64Array(this.share)[LIMIT] = BigInt(options.limitBytes);
  }
}

/** One device's account in its machine's pool, in any thread. */
export class ResourceAccount {
  readonly #slots: BigInt64Array;
  readonly #slot: number;
  readonly #device: string;

  /** `index` is the device's place in its machine, `device` names it in errors. */
  constructor(options: { share: SharedArrayBuffer; index: number; device: string }) {
    this.#slots = new BigInt64Array(options.share);
    this.#slot = FIRST_DEVICE + options.index;
    this.#device = options.device;
  }

  /** Bytes that the device uses. */
  get usedBytes(): number {
    return Number(Atomics.load(this.#slots, this.#slot));
  }

  /** Takes `bytes`. Throws `vfio/resources`, and takes nothing, when so much is not left. */
  take(bytes: number): void {
    Atomics.add(this.#slots, this.#slot, BigInt(bytes));
    const limitBytes = Number(Atomics.load(this.#slots, LIMIT));
    let usedBytes = 0;
    for (let slot = FIRST_DEVICE; slot < this.#slots.length; slot += 1) {
      usedBytes += Number(Atomics.load(this.#slots, slot));
    }
    if (usedBytes <= limitBytes) return;
    this.giveBack(bytes);
    const leftBytes = Math.max(0, limitBytes - (usedBytes - bytes));
    throw new HarnessError('vfio/resources', { device: this.#device, bytes, leftBytes, limitBytes });
  }

  /** Gives back what `take` took. */
  giveBack(bytes: number): void {
    Atomics.sub(this.#slots, this.#slot, BigInt(bytes));
  }

  /** The device is gone, and all that it had. */
  clear(): void {
    Atomics.store(this.#slots, this.#slot, 0n);
  }
}
