/**
 * What keeps a machine from migrating at all, before anything begins (spec/control.md §8.3, spec/vfio.md §2.5): a device whose
 * state cannot be sent, and VFIO devices that cannot be migrated, or not with each other.
 */

import { HarnessError } from '../base/errors.ts';
import type { VfioFeatures } from '../hw/vfio/states.ts';
import type { MigrationWishes } from '../hw/vfio/vfio-properties.ts';

/** One reason, as query-migrate lists it and as `migrate` refuses because of it. */
export interface Blocker {
  readonly reason: string;
  readonly refusal: string;
}

/** What is looked at. */
interface Blockable {
  readonly id: string;
  readonly idstr: string;
  /** The field of its state that nothing can carry. */
  readonly descriptorField?: string | undefined;
  readonly vfio?: { readonly features: VfioFeatures };
  readonly dma?: { readonly wishes: MigrationWishes };
}

/** All of them; the first is the one that `migrate` tells. */
export function blockersOf(devices: readonly Blockable[]): Blocker[] {
  const unmigratable = devices.flatMap(({ idstr, descriptorField }): Blocker[] => {
    if (descriptorField === undefined) return [];
    const why = `its field ${descriptorField} is a file descriptor, which no transport here carries`;
    return [
      {
        reason: `non-migratable device: ${idstr}`, // as a real QEMU 10.0.2 lists it
        refusal: `State blocked by non-migratable device '${idstr}': ${why}`,
      },
    ];
  });
  const vfio = devices.filter((device) => device.vfio !== undefined);
  const alone = vfio.flatMap(({ id, dma }) => {
    const { enable = 'auto', tracksPages = true } = dma?.wishes ?? {};
    if (enable === 'off') return [`VFIO device '${id}' must not migrate: enable-migration is off`];
    if (enable === 'on' || tracksPages) return [];
    return [
      `VFIO device '${id}' does not say which guest pages it writes (x-device-dirty-page-tracking is off), and enable-migration is auto`,
    ];
  });
  const without = vfio.filter(({ vfio: port }) => port?.features.p2p !== true).map(({ id }) => `'${id}'`);
  const together =
    vfio.length > 1 && without.length > 0
      ? [
          `${vfio.length} VFIO devices can only migrate together if each of them supports P2P, which ${without.join(', ')} ${without.length > 1 ? 'do' : 'does'} not`,
        ]
      : [];
  return [...unmigratable, ...[...alone, ...together].map((text) => ({ reason: text, refusal: text }))];
}

/** The same, but with `-only-migratable` there may be none: throws `cli/usage` with the first, in QEMU's words. */
export function toleratedBlockers(
  devices: readonly Blockable[],
  { onlyMigratable = false }: { readonly onlyMigratable?: boolean },
): Blocker[] {
  const blockers = blockersOf(devices);
  if (!onlyMigratable || blockers.length === 0) return blockers;
  const device = devices.find(({ descriptorField }) => descriptorField !== undefined);
  const text =
    device === undefined
      ? `disallowing migration blocker (--only-migratable) for: ${blockers[0]?.reason}`
      : `Device ${device.id} is not migratable, but --only-migratable was specified`;
  throw new HarnessError('cli/usage', { text });
}
