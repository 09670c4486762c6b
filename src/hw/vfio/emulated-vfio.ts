/**
 * The driver of the emulated VFIO devices: sessions over a profile. The arcs themselves cost nothing here; what costs time is
 * reading, writing and allocating, as the device's properties say.
 */

import type { VfioState } from '../../wire/vfio.ts';
import { type DeviceMemory, EmulatedLoader, type LoaderOptions } from './emulated-loader.ts';
import { EmulatedSaver, type SaverOptions } from './emulated-saver.ts';
import { isSaving, type VfioFeatures } from './states.ts';
import type { PrecopyInfo, VfioDriver, VfioLanding } from './vfio-driver.ts';

/** One emulated device's driver. */
export class EmulatedVfio implements VfioDriver {
  readonly features: VfioFeatures;
  readonly #saving: SaverOptions;
  readonly #loading: LoaderOptions;
  readonly #memory: DeviceMemory;
  #saver: EmulatedSaver | undefined;
  #loader: EmulatedLoader | undefined;
  #isBroken = false;

  constructor(options: { features: VfioFeatures; saving: SaverOptions; loading: LoaderOptions; memory: DeviceMemory }) {
    this.features = options.features;
    this.#saving = options.saving;
    this.#loading = options.loading;
    this.#memory = options.memory;
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  async arc(from: VfioState, to: VfioState): Promise<void> {
    if (to === 'stop-copy' && this.#saver !== undefined) this.#saver.finish();
    else if (to === 'stop-copy') this.#saver = new EmulatedSaver(this.#saving, 'stop-copy');
    else if (isSaving(to) && !isSaving(from)) this.#saver = new EmulatedSaver(this.#saving, 'pre-copy');
    else if (isSaving(from) && !isSaving(to)) this.#saver = undefined;
    else if (to === 'resuming') this.#loader = new EmulatedLoader(this.#loading, this.#memory);
    else if (from === 'resuming') await this.#endLoading();
  }

  read(maxBytes: number, spare?: ArrayBufferLike): Uint8Array {
    return this.#saver?.read(maxBytes, spare) ?? new Uint8Array(0);
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#loader?.write(bytes);
  }

  landing(): VfioLanding | undefined {
    return this.#loader?.landing;
  }

  precopyInfo(): PrecopyInfo {
    return this.#saver?.info() ?? { initialBytes: 0, dirtyBytes: 0, reinit: false };
  }

  stopCopyBytes(): number {
    // Without a session: what one would bring that began now.
    return (this.#saver ?? new EmulatedSaver(this.#saving, 'pre-copy')).stopCopyBytes();
  }

  async ready(): Promise<void> {
    await this.#loader?.ready();
  }

  reset(): void {
    this.#saver = undefined;
    this.#loader?.abort();
    this.#loader = undefined;
    this.#isBroken = false;
    this.free();
  }

  /** Gives the device's memory back. */
  free(): void {
    this.#loading.resources.giveBack(this.#memory.takenBytes);
    this.#memory.takenBytes = 0;
    this.#memory.bytes = new Uint8Array(new SharedArrayBuffer(0));
  }

  /** The integrity check: what is incomplete leaves the device in ERROR. */
  async #endLoading(): Promise<void> {
    try {
      await this.#loader?.check();
      this.#loader = undefined;
    } catch (error) {
      this.#isBroken = true;
      throw error;
    }
  }
}
