/** A VFIO device over a driver that does as it is told, and fails where it is told to. */

import type { VfioFeatures } from '../../src/hw/vfio/states.ts';
import { VfioDevice } from '../../src/hw/vfio/vfio-device.ts';
import type { VfioDriver } from '../../src/hw/vfio/vfio-driver.ts';
import type { VfioState } from '../../src/wire/vfio.ts';

/** Writes its arcs down. `failing` are the arcs (`from to`) that throw, `breaking` those that end in ERROR. */
export class ScriptedDriver implements VfioDriver {
  readonly arcs: string[] = [];
  readonly features: VfioFeatures;
  failing = new Set<string>();
  breaking = new Set<string>();
  isBroken = false;
  resetFails = false;
  data: Uint8Array<ArrayBuffer>[] = [];
  readonly written: number[] = [];

  constructor(features: VfioFeatures = { p2p: true, precopy: true }) {
    this.features = features;
  }

  arc(from: VfioState, to: VfioState): void {
    const arc = `${from} ${to}`;
    this.isBroken = this.breaking.has(arc);
    if (this.isBroken || this.failing.has(arc)) throw new Error('told to fail');
    this.arcs.push(arc);
  }

  read(): Uint8Array<ArrayBuffer> {
    return this.data.shift() ?? new Uint8Array(0);
  }

  write(bytes: Uint8Array): void {
    this.written.push(...bytes);
  }

  precopyInfo() {
    return { initialBytes: 1, dirtyBytes: 2, reinit: false };
  }

  stopCopyBytes(): number {
    return 3;
  }

  reset(): void {
    if (this.resetFails) throw new Error('told to fail');
    this.isBroken = false;
  }
}

/** One device and its driver. */
export function scripted(features?: VfioFeatures) {
  const driver = new ScriptedDriver(features);
  return { driver, device: new VfioDevice({ device: 'v0', driver }) };
}
