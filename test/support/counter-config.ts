/** The counter device of tests as a machine is configured with it. */

import { parseProperties } from '../../src/hw/device-property.ts';
import type { DeviceConfig } from '../../src/hw/device-thread.ts';
import counter from './devices/counter.ts';

/** Its module, for threads. */
const COUNTER_MODULE = new URL('./devices/counter.ts', import.meta.url).href;

/** A counter; `properties` as on a command line. */
export function counterConfig(id: string, properties: Readonly<Record<string, string>> = {}): DeviceConfig {
  const texts = new Map(Object.entries(properties));
  return {
    id,
    module: COUNTER_MODULE,
    definition: counter,
    properties: parseProperties(counter.properties, texts, 'counter'),
  };
}

/** Offsets of its registers. */
export const COUNTER = {
  COUNT: { region: 'registers', offset: 0, size: 4 },
  PERIOD: { region: 'registers', offset: 4, size: 4 },
  ADDRESS: { region: 'registers', offset: 8, size: 4 },
} as const;
