/** The conformance suite as tests of vitest: one line in a test file of the author's. */

import { describe, test } from 'vitest';
import { loadDevice } from '../hw/device-module.ts';
import { deviceModule } from '../hw/device-registry.ts';
import { conformanceChecks } from './conformance.ts';

/**
 * Declares one test for each check of a device, given as a built-in name or a path:
 * `await testDevice('./my-device.ts')`.
 */
export async function testDevice(reference: string): Promise<void> {
  const definition = await loadDevice(deviceModule(reference));
  describe(`device ${definition.name}`, () => {
    for (const { name, run } of conformanceChecks(definition)) test(name, run);
  });
}
