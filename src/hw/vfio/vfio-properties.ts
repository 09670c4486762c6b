/** Properties that every VFIO device has, whatever its own table says: how its state travels (spec/vfio.md §2.6). */

import type { DeviceDefinition } from '../device.ts';
import { choice, type PropertyTable, parseProperties, size } from '../device-property.ts';

/** Whether a device's last data goes over multifd channels. */
type TransferWish = 'auto' | 'on' | 'off';

/** How a device's state is to travel. */
export interface TransferWishes {
  readonly multifdTransfer: TransferWish;
  readonly maxQueuedBytes: number;
}

/** The names are QEMU's. */
const VFIO_PROPERTIES = {
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
