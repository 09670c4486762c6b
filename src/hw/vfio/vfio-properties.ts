/**
 * Properties that every VFIO device has, whatever its own table says: whether and how it migrates, and how its state travels
 * (spec/vfio.md §2.5, §2.6).
 */

import type { DeviceDefinition } from '../device.ts';
import { choice, flag, type PropertyTable, parseProperties, size } from '../device-property.ts';

/** Whether a device's last data goes over multifd channels. */
type TransferWish = 'auto' | 'on' | 'off';

/** How a device's state is to travel. */
export interface TransferWishes {
  readonly multifdTransfer: TransferWish;
  readonly maxQueuedBytes: number;
}

/** Whether a device may migrate, and how the machine learns what it writes. */
export interface MigrationWishes {
  /** `auto`: if the device says which guest pages it writes. */
  readonly enable: 'auto' | 'on' | 'off';
  /** The device logs the guest pages that it writes. */
  readonly tracksPages: boolean;
  /** That log is asked for while the guest runs. */
  readonly tracksInPrecopy: boolean;
  /** Changes of its state are told as events. */
  readonly events: boolean;
}

/** The names are QEMU's. */
const VFIO_PROPERTIES = {
  'enable-migration': choice(
    ['auto', 'on', 'off'],
    'auto',
    'whether the machine may migrate; auto: if the device logs the guest pages that it writes',
  ),
  'x-device-dirty-page-tracking': flag(
    true,
    'the device logs the guest pages that it writes; else all count as written',
  ),
  'x-pre-copy-dirty-page-tracking': flag(true, 'ask for that log while the guest runs; else all count as written then'),
  'migration-events': flag(false, 'tell changes of the state as VFIO_MIGRATION events'),
  'x-migration-multifd-transfer': choice(
    ['auto', 'on', 'off'],
    'auto',
    'send the last data over multifd channels; auto: where multifd can',
  ),
  'x-migration-max-queued-buffers-size': size(
    Number.MAX_SAFE_INTEGER,
    'state that may wait on the destination for packets before it; more fails the migration',
  ),
} as const satisfies PropertyTable;

/** Reads the properties of any device, a VFIO one's common ones included. Throws `option/bad-value`. */
export function parseDeviceProperties(
  definition: DeviceDefinition,
  texts: ReadonlyMap<string, string>,
  device: string,
): Readonly<Record<string, unknown>> {
  const table = definition.vfio === true ? { ...definition.properties, ...VFIO_PROPERTIES } : definition.properties;
  return parseProperties(table, texts, device);
}

/** How a VFIO device's state is to travel, from properties as they were read. */
export function transferWishes(properties: Readonly<Record<string, unknown>>): TransferWishes {
  const { 'x-migration-multifd-transfer': transfer, 'x-migration-max-queued-buffers-size': queued } = VFIO_PROPERTIES;
  // parseDeviceProperties put them there by the table above; a machine made by hand may have left them out.
  return {
    multifdTransfer: (properties['x-migration-multifd-transfer'] as TransferWish | undefined) ?? transfer.preset,
    maxQueuedBytes: (properties['x-migration-max-queued-buffers-size'] as number | undefined) ?? queued.preset,
  };
}

/** Whether and how a VFIO device migrates, from properties as they were read. */
export function migrationWishes(properties: Readonly<Record<string, unknown>>): MigrationWishes {
  type Name = keyof typeof VFIO_PROPERTIES;
  type Value<N extends Name> = (typeof VFIO_PROPERTIES)[N]['preset'];
  // As in transferWishes.
  const of = <N extends Name>(name: N) => (properties[name] ?? VFIO_PROPERTIES[name].preset) as Value<N>;
  return {
    enable: of('enable-migration'),
    tracksPages: of('x-device-dirty-page-tracking'),
    tracksInPrecopy: of('x-pre-copy-dirty-page-tracking'),
    events: of('migration-events'),
  };
}
