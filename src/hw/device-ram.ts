/**
 * Guest RAM as a device's thread sees it (DMA). Like every writer it stores first and marks second. A device of a stopped
 * machine that writes would tear the migration, so that is an error.
 */

import { HarnessError } from '../base/errors.ts';
import { loadKernel } from '../threads/kernel.ts';
import type { BitmapKernel } from '../threads/kernel-exports.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import type { DeviceRam } from './device.ts';
import type { RamShare } from './ram.ts';

/** The first RAM block of a machine, at guest-physical address 0. */
export class SharedDeviceRam implements DeviceRam {
  readonly length: number;
  readonly #device: string;
  readonly #ram: RamShare;
  readonly #bytes: Uint8Array;
  #bitmap: BitmapKernel | undefined;
  /** Set by the host: false from `stop` to `start`. */
  writable = false;
  /** Told of every write; returns whether the device's DMA log has it. */
  onWrite: ((address: number, length: number) => boolean) | undefined;

  /** `device` names the writer in errors. */
  constructor(ram: RamShare, device: string) {
    this.length = ram.length;
    this.#device = device;
    this.#ram = ram;
    this.#bytes = new Uint8Array(ram.memory.buffer, 0, ram.length);
  }

  read(address: number, length: number): Uint8Array {
    this.#check(address, length);
    return this.#bytes.slice(address, address + length);
  }

  write(address: number, bytes: Uint8Array): void {
    if (!this.#store(address, bytes)) return;
    this.#mark(address, bytes.length);
    this.onWrite?.(address, bytes.length);
  }

  dma(address: number, bytes: Uint8Array): void {
    if (!this.#store(address, bytes)) return;
    if (this.onWrite?.(address, bytes.length) !== true) this.#mark(address, bytes.length);
  }

  /** Whether there was anything to store. */
  #store(address: number, bytes: Uint8Array): boolean {
    this.#check(address, bytes.length);
    if (!this.writable) throw new HarnessError('device/stopped', { device: this.#device, address });
    this.#bytes.set(bytes, address);
    return bytes.length > 0;
  }

  #mark(address: number, length: number): void {
    const first = Math.floor(address / PAGE_SIZE);
    const last = Math.floor((address + length - 1) / PAGE_SIZE);
    this.#bitmap ??= loadKernel('bitmap', this.#ram.bitmaps);
    this.#bitmap.markRange(this.#ram.dirtyOffset, first, last - first + 1);
  }

  #check(address: number, length: number): void {
    if (address >= 0 && length >= 0 && address + length <= this.length) return;
    const { name: ramBlock, length: blockLength } = this.#ram;
    throw new HarnessError('ram/out-of-range', { ramBlock, offset: address, length, blockLength });
  }
}
