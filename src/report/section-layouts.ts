/** Which layout a section has: from the stream's description, or one of the few that every machine sends. */

import type { DeviceLayout, FieldLayout, ObjectLayout } from './vm-description.ts';

/** What identifies a section. */
interface SectionKey {
  readonly idstr: string;
  readonly instanceId: number;
  readonly version: number;
}

/** Hands out layouts section by section; a name that comes twice gets its descriptions in stream order. */
export class SectionLayouts {
  readonly #described = new Map<string, DeviceLayout[]>();

  constructor(devices: readonly DeviceLayout[]) {
    for (const device of devices) {
      const key = keyOf(device);
      const same = this.#described.get(key);
      if (same === undefined) this.#described.set(key, [device]);
      else same.push(device);
    }
  }

  /** The layout of the next section of that name; undefined when nothing tells it. */
  take(section: SectionKey): ObjectLayout | undefined {
    const described = this.#described.get(keyOf(section));
    // The last one stays: a stream may repeat a section that was described once.
    if (described !== undefined && described.length > 1) return described.shift();
    return described?.[0] ?? wellKnown(section);
  }
}

function keyOf(section: { readonly idstr: string; readonly instanceId: number }): string {
  return `${section.instanceId} ${section.idstr}`;
}

/** `timer` and `globalstate` (spec/wire.md §10.2, §10.3), which streams without a description carry too. */
function wellKnown({ idstr, version }: SectionKey): ObjectLayout | undefined {
  if (idstr === 'timer' && (version === 1 || version === 2)) {
    const fields = [field('cpu_ticks_offset', 'int64', 8), field('unused', 'unused_buffer', 8)];
    return layout(idstr, version, version === 1 ? fields : [...fields, field('cpu_clock_offset', 'int64', 8)]);
  }
  if (idstr === 'globalstate' && version === 1) {
    return layout(idstr, version, [
      field('size', 'uint32', 4),
      field('runstate', 'buffer', 32),
      field('has_vm_was_suspended', 'uint8', 1),
      field('vm_was_suspended', 'uint8', 1),
      field('unused', 'buffer', 66),
    ]);
  }
  return undefined;
}

function field(name: string, type: string, size: number): FieldLayout {
  return { name, type, size, count: 1, index: undefined, inner: [] };
}

function layout(vmsdName: string, version: number, fields: readonly FieldLayout[]): ObjectLayout {
  return { vmsdName, version, fields, subsections: [], size: fields.reduce((sum, { size }) => sum + size, 0) };
}
