/** A device alone on its machine, in the test's own thread, with registers by offset and a clock cranked by hand. */

import type { DeviceDefinition } from '../../src/hw/device.ts';
import type { PropertyTable } from '../../src/hw/device-property.ts';
import { GuestWorld, InlineMachine } from '../../src/kit/inline-machine.ts';

/** What tests of one device's registers use. */
export interface InlineDevice extends AsyncDisposable {
  read(offset: number, region?: string): Promise<number>;
  write(offset: number, value: number, region?: string): Promise<void>;
  /** Lets virtual time pass (ns). */
  wait(ns: bigint): Promise<void>;
  reset(): Promise<void>;
  irq(line?: number): boolean;
  /** How often the line rose so far. */
  edges(line?: number): number;
  /** Bytes and description of its state. */
  saved(): Promise<{ readonly bytes: Uint8Array; readonly described: object }>;
  /** Goes on on another machine. */
  migrate(): Promise<void>;
}

/** Makes one, running, at virtual time 0 or that of its state; registers are bytes of `region` unless a call says otherwise. */
export async function inlineDevice<P extends PropertyTable, S>(
  device: DeviceDefinition<P, S>,
  options: { properties?: Readonly<Record<string, string>>; region?: string; state?: Uint8Array; nowNs?: bigint } = {},
): Promise<InlineDevice> {
  const { properties = {}, region: preset = 'registers', state, nowNs = 0n } = options;
  // As a machine sees it; with the test's properties in place of the conformance suite's.
  const definition = {
    ...device,
    conformance: { registers: [], trace: [], properties },
  } as unknown as DeviceDefinition;
  const world = await GuestWorld.create(definition);
  let machine = await InlineMachine.create(world, state === undefined ? undefined : { bytes: state, nowNs });
  const at = (offset: number, region = preset) => ({ region, offset, size: 1 }) as const;
  return {
    read: async (offset, region) => (await machine.perform({ read: at(offset, region) })) ?? 0,
    write: async (offset, value, region) => void (await machine.perform({ write: at(offset, region), value })),
    wait: async (waitNs) => void (await machine.perform({ waitNs })),
    reset: async () => void (await machine.perform({ reset: true })),
    irq: (line = 0) => machine.irqs.level(line),
    edges: (line = 0) => machine.irqs.edges(line),
    saved: () => machine.saved(),
    migrate: async () => {
      machine = await machine.migrate();
    },
    [Symbol.asyncDispose]: async () => {
      await machine[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}
