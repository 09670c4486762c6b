/** Machines with VFIO devices, and migrations between them. */

import { expect } from 'vitest';
import { deviceConfig } from '../../src/hw/device-config.ts';
import type { DeviceConfig } from '../../src/hw/device-thread.ts';
import type { MachinePair } from './machine-pair.ts';

/** The capabilities of a migration that waits for its devices. */
export const ACK = ['return-path', 'switchover-ack'];
/** A guest that goes on writing. */
export const GUEST = 'guest-sweep,id=g';

/** A device by its name, or one of test/support/devices by its path; `properties` as on a command line. */
export function vfioConfig(
  id: string,
  reference: string,
  properties: Readonly<Record<string, string>> = {},
): Promise<DeviceConfig> {
  return deviceConfig({ driver: reference, id, properties: new Map(Object.entries(properties)) });
}

/** `count` devices of a kind: d0, d1, … */
export function vfioConfigs(
  count: number,
  reference: string,
  properties: Readonly<Record<string, string>> = {},
): Promise<DeviceConfig[]> {
  return Promise.all(Array.from({ length: count }, (_, n) => vfioConfig(`d${n}`, reference, properties)));
}

/** Migrates, and the guest runs on the other side. */
export async function migrated({ source, destination, uri }: MachinePair): Promise<void> {
  await source.vm.migrate({ uri });
  await source.ended();
  const { status, 'error-desc': why } = source.vm.queryMigrate();
  expect({ status, why, there: destination.vm.queryMigrate()['error-desc'] }).toEqual({ status: 'completed' });
  await destination.event(['RESUME']);
}

/** Migrates in vain; resolves with the source's error. */
export async function expectFails({ source, uri }: MachinePair): Promise<string> {
  await source.vm.migrate({ uri });
  expect(await source.ended()).toBe('failed');
  return source.vm.queryMigrate()['error-desc'] ?? '';
}

/** What the source tells of its devices. */
export const devicesOf = ({ source }: MachinePair) => source.vm.queryMigrate()['x-switchover']?.devices ?? [];
