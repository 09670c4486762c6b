/**
 * Migration properties (spec/control.md §3): what only `-global migration.NAME=VALUE` sets, mostly so that streams fit
 * those of older machine types. They have no place in QMP.
 */

import type { Kind, KindValue } from '../../base/kinds.ts';
import * as kinds from '../../base/kinds.ts';

interface PropertyRow<T> {
  readonly kind: Kind<T>;
  readonly initial: T;
  /** Of a number, both included; without it the kind says. */
  readonly range?: readonly [number, number];
  readonly summary: string;
}

function row<T>(columns: PropertyRow<T>): PropertyRow<T> {
  return columns;
}

/** Every property with its value on the newest machine type. The names are those of `-global migration.NAME`. */
export const PROPERTIES = {
  'store-global-state': row({
    kind: kinds.boolean,
    initial: true,
    summary: 'Send the run state of the guest; a destination that never gets it assumes that the guest was running.',
  }),
  'send-configuration': row({
    kind: kinds.boolean,
    initial: true,
    summary: 'Send and require the configuration section at the start of the stream.',
  }),
  'send-section-footer': row({
    kind: kinds.boolean,
    initial: true,
    summary: 'Send and require a footer after each section.',
  }),
  'send-switchover-start': row({
    kind: kinds.boolean,
    initial: true,
    summary: 'Announce the final device state by a command; a receiver does not miss it.',
  }),
  'multifd-flush-after-each-section': row({
    kind: kinds.boolean,
    initial: false,
    summary:
      'Synchronize the multifd channels after each RAM section instead of once per pass; must be the same on both sides.',
  }),
  'multifd-clean-tls-termination': row({
    kind: kinds.boolean,
    initial: true,
    summary: 'On a destination, a multifd TLS channel that ends without close-notify is an error.',
  }),
  'x-preempt-pre-7-2': row({
    kind: kinds.boolean,
    initial: false,
    summary: 'Open the preempt channel during setup, as QEMU up to 7.1 did.',
  }),
  'switchover-ack-legacy': row({
    kind: kinds.boolean,
    initial: true,
    summary:
      'With switchover-ack, the destination counts its devices and acknowledges once, as QEMU 8.1 to 11.0; off: every device is acknowledged, as often as it asks. Must be the same on both sides.',
  }),
  'x-switchover-ack-timeout': row({
    kind: kinds.uint32,
    initial: 0,
    summary: 'Milliseconds to wait for the switchover-ack once all else is ready; 0 waits without limit, as QEMU does.',
  }),
  'x-compress': row({
    kind: kinds.boolean,
    initial: false,
    summary:
      'The capability `compress` of QEMU up to 9.0: pages compressed one by one by threads; must be on on both sides.',
  }),
  'x-compress-level': row({
    kind: kinds.uint8,
    initial: 1,
    range: [0, 9],
    summary: 'Level of x-compress, 0 to 9.',
  }),
  'x-compress-threads': row({
    kind: kinds.uint8,
    initial: 8,
    range: [1, 255],
    summary: 'Threads of a source with x-compress, 1 to 255.',
  }),
  'x-compress-wait-thread': row({
    kind: kinds.boolean,
    initial: true,
    summary: 'With x-compress, wait when every thread is busy; off: send pages as they are meanwhile.',
  }),
  'x-decompress-threads': row({
    kind: kinds.uint8,
    initial: 2,
    range: [1, 255],
    summary: 'Threads of a destination with x-compress, 1 to 255.',
  }),
  'x-clear-bitmap-shift': row({
    kind: kinds.uint8,
    initial: 18,
    summary: 'log2 of the pages whose dirty bits are cleared at once, 6 to 31.',
  }),
} as const;

/** The name of a property. */
export type PropertyName = keyof typeof PROPERTIES;
/** All properties with their values. */
export type PropertyValues = { readonly [N in PropertyName]: KindValue<(typeof PROPERTIES)[N]['kind']> };

/** Every property's name. */
export const PROPERTY_NAMES = Object.keys(PROPERTIES) as PropertyName[];

/** The values on the newest machine type. */
export const INITIAL_PROPERTIES = Object.fromEntries(
  PROPERTY_NAMES.map((name) => [name, PROPERTIES[name].initial]),
  // One entry for every row, so this is what the mapped type describes.
) as PropertyValues;

/** The sentence about the first property that is out of its range; undefined when none is. */
export function propertyProblem(values: PropertyValues): string | undefined {
  for (const name of PROPERTY_NAMES) {
    const { range } = PROPERTIES[name] as PropertyRow<unknown>;
    const value = values[name];
    if (range === undefined || typeof value !== 'number' || (value >= range[0] && value <= range[1])) continue;
    return `Parameter '${name}' expects a value between ${range[0]} and ${range[1]}`;
  }
  return undefined;
}
