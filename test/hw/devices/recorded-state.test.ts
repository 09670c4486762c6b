/** What QEMU's machines sent of their devices: the schemas take it apart and together again, and so do the devices. */

import { expect, test } from 'vitest';
import type { DeviceDefinition } from '../../../src/hw/device.ts';
import i8254 from '../../../src/hw/devices/i8254/device.ts';
import rtc from '../../../src/hw/devices/mc146818rtc/device.ts';
import { GuestWorld, InlineMachine } from '../../../src/kit/inline-machine.ts';
import { recordedStream } from '../../support/recorded-stream.ts';
import { sectionOf } from '../../support/stream-section.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test.for(
  ['isapc-1m', 'pc-1m', 'microvm-1m'].flatMap((stream) => [
    { stream, idstr: 'i8254', definition: i8254 as unknown as DeviceDefinition },
    { stream, idstr: 'mc146818rtc', definition: rtc as unknown as DeviceDefinition },
  ]),
)('$idstr of $stream', async ({ stream, idstr, definition }) => {
  const { payload, version, described } = sectionOf(recordedStream(`${stream}.main.gz`), idstr);
  const decoded = definition.state.decode(payload, { version });
  expect(hex(definition.state.encode(decoded))).toBe(hex(payload));
  expect(JSON.stringify(definition.state.describe(decoded))).toBe(described);

  await using world = await GuestWorld.create(definition);
  await using machine = await InlineMachine.create(world, { bytes: payload, paused: true });
  expect(hex((await machine.stopAndSave()).bytes)).toBe(hex(payload));
});
