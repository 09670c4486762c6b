/**
 * Whether a VFIO device's last data goes over multifd channels (spec/vfio.md §2.6). Both sides decide for themselves, by the
 * device's property and the migration's options; nothing on the stream says so.
 */

import { HarnessError } from '../../base/errors.ts';
import type { TransferWishes } from '../../hw/vfio/vfio-properties.ts';
import type { MigrationOptionsSnapshot } from '../options/options.ts';

/** The options that it depends on. */
export type TransferOptions = Pick<MigrationOptionsSnapshot, 'capabilities' | 'multifd' | 'properties'>;

/** Why it does not; undefined when it does. Throws `vfio/transfer` for a device that is to and cannot. */
export function transferRefusal(
  device: { readonly id: string; readonly transfer?: TransferWishes },
  options: TransferOptions,
): string | undefined {
  const { multifdTransfer = 'auto' } = device.transfer ?? {};
  if (multifdTransfer === 'off') return 'x-migration-multifd-transfer is off here';
  const why = obstacle(options);
  if (why !== undefined && multifdTransfer === 'on') {
    throw new HarnessError('vfio/transfer', { device: device.id, why });
  }
  return why;
}

function obstacle({ capabilities, multifd, properties }: TransferOptions): string | undefined {
  if (!capabilities.multifd) return 'multifd is off';
  if (capabilities['mapped-ram']) return 'mapped-ram is on';
  if (multifd.compression !== 'none') return `multifd-compression is ${multifd.compression}`;
  return properties['send-switchover-start'] ? undefined : 'send-switchover-start is off';
}
