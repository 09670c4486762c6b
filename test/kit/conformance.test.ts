/** The conformance suite passes a good device and finds each kind of flaw, saying what is wrong and what to do. */

import { describe, expect, test } from 'vitest';
import { type Device, type DeviceContext, type DeviceDefinition, field, vmstate } from '../../src/hw/device.ts';
import { conformanceChecks, runConformance } from '../../src/kit/conformance.ts';
import counter from '../support/devices/counter.ts';

type Counted = { count: number; periodMs: number; expiresNs: bigint };
type Flaw = (good: Device<Counted>, context: DeviceContext) => Partial<Device<Counted>>;

const COUNTER = counter as unknown as DeviceDefinition; // as a machine sees it

/** The counter with some of its methods replaced. */
function flawed(flaw: Flaw, changes: Partial<DeviceDefinition> = {}): DeviceDefinition {
  return {
    ...COUNTER,
    ...changes,
    create: async (context) => {
      const good = (await COUNTER.create(context)) as Device<Counted>;
      const methods: Device<Counted> = {
        read: (access) => good.read?.(access) ?? 0,
        write: (access, value) => good.write?.(access, value),
        save: () => good.save(),
        load: (state) => good.load(state),
        reset: () => good.reset(),
        ...flaw(good, context),
      };
      return methods as Device;
    },
  };
}

/** Names of the failed checks with their reasons. */
async function failures(definition: DeviceDefinition): Promise<Record<string, string>> {
  const { checks } = await runConformance(definition);
  return Object.fromEntries(checks.flatMap(({ name, why }) => (why === undefined ? [] : [[name, why]])));
}

test('a good device passes every check', async () => {
  expect(await failures(COUNTER)).toEqual({});
  expect(await runConformance(COUNTER)).toMatchObject({ device: 'counter', ok: true });
});

describe('a device', () => {
  test('that loads less than it saves fails the round trip', async () => {
    const lazy = flawed((good) => ({ load: (state) => good.load({ ...state, periodMs: 0 }) }));
    expect(await failures(lazy)).toMatchObject({
      'save, load, save gives the same bytes, at every step of its trace':
        'after step 1 (write registers+0x4 (4 bytes) = 0xa): the state saved after a load differs at byte 7 of the state (10 and 0)',
    });
  });

  test('that forgets to save a register is told which', async () => {
    const forgetful = flawed((good) => ({ save: async () => ({ ...(await good.save()), count: 0 }) }));
    expect(await failures(forgetful)).toMatchObject({
      'a store to any register shows in the state': expect.stringMatching(
        /same after a store to COUNT, registers\+0x0 \(4 bytes\)/,
      ),
      'a guest cannot tell a migration after any step of its trace': expect.stringMatching(
        /with a migration after every step, the value read at step 4 .* is 0x0, without one 0x9/,
      ),
    });
  });

  test('that says it forgets a register and does not is told', async () => {
    const conformance = {
      ...COUNTER.conformance!,
      registers: COUNTER.conformance!.registers.map((row) => ({ ...row, stateless: 'so it says' })),
    };
    expect(await failures({ ...COUNTER, conformance })).toEqual({
      'a store to any register shows in the state': expect.stringMatching(
        /COUNT, .* said to be stateless, but a store to it changes byte 0/,
      ),
    });
  });

  test('with a register that it does not name is told to name it', async () => {
    const { registers, trace } = COUNTER.conformance!;
    const conformance = { registers: registers.filter(({ name }) => name !== 'PERIOD'), trace };
    expect(await failures({ ...COUNTER, conformance })).toEqual({
      'registers that it does not name keep no state': expect.stringMatching(
        /registers\+0x4 \(4 bytes\) changes byte 4 .* name the register/,
      ),
    });
  });

  test('whose interrupt is high before a migration and low after it is found out', async () => {
    const conformance = {
      registers: COUNTER.conformance!.registers,
      trace: [{ write: { region: 'registers', offset: 0, size: 4 }, value: 1 }, { waitNs: 1n }],
    } as const;
    const deaf = flawed(
      (good, context) => ({
        write: (access, value) => {
          context.irq().set(true);
          return good.write?.(access, value);
        },
      }),
      { conformance },
    );
    expect(await failures(deaf)).toEqual({
      'a guest cannot tell a migration after any step of its trace':
        'with a migration after every step, interrupt line 0 at step 1 (wait 1 ns) is low, without one high',
    });
  });

  test('whose DMA is done by the load is found out by the RAM', async () => {
    const conformance = {
      registers: COUNTER.conformance!.registers,
      trace: [{ store: 0x1000, bytes: [1] }, { waitNs: 1n }],
    } as const;
    const eager = flawed((_good, context) => ({ start: () => context.ram.write(0x1000, Uint8Array.of(9)) }), {
      conformance,
    });
    expect(await failures(eager)).toEqual({
      'a guest cannot tell a migration after any step of its trace': expect.stringMatching(/guest RAM at step 1/),
    });
  });

  test('with a lenient schema fails for cut and for long states', async () => {
    const { state } = COUNTER;
    const lenient = { ...state, decode: () => ({ count: 0, periodMs: 0, expiresNs: 0n }) };
    expect(await failures(flawed(() => ({}), { state: lenient }))).toMatchObject({
      'a state that is cut short is an error that names the field': 'its first 0 of 16 bytes load without an error',
      'a state that goes on too long is an error': 'its 16 bytes with 1 more load without an error',
    });
  });

  test('whose errors do not say where is told', async () => {
    const { state } = COUNTER;
    const vague: typeof state = {
      ...state,
      decode: (bytes, place) => {
        if (bytes.length !== 16) throw new Error('no');
        return state.decode(bytes, place);
      },
    };
    expect(await failures(flawed(() => ({}), { state: vague }))).toEqual({
      'a state that is cut short is an error that names the field':
        'its first 0 of 16 bytes give an error that is none of ours: no',
      'a state that goes on too long is an error': 'its 16 bytes with 1 more give an error that is none of ours: no',
    });
  });

  test('with a wrong description is told the difference', async () => {
    const described = { vmsd_name: 'counter', version: 1, fields: [{ name: 'count', type: 'uint32', size: 4 }] };
    const state = { ...COUNTER.state, describe: () => described };
    expect(await failures(flawed(() => ({}), { state }))).toEqual({
      'its description accounts for every byte of its state': 'its description tells of 4 bytes, its state has 16',
    });
  });

  test('that declares an older version is asked for a state of it, and must load it', async () => {
    const { u32, timer } = field;
    const fields = { count: u32, periodMs: u32, expiresNs: timer };
    const state = vmstate({ name: 'counter', version: 2, minimumVersion: 1, fields });
    const name = 'each older version that it declares loads';
    expect((await failures({ ...COUNTER, state }))[name]).toBe(
      "version 1 is declared and not tried: add a state of it, older: { 1: 'hex' }",
    );
    const older = { 1: '00000007 0000000a ffffffffffffffff' };
    const conformance = { ...COUNTER.conformance!, older };
    expect(await failures({ ...COUNTER, state, conformance })).toEqual({});
    const cut = { ...conformance, older: { 1: '00000007' } };
    expect((await failures({ ...COUNTER, state, conformance: cut }))[name]).toMatch(/cut short/);
  });

  test('that takes an older state that is cut or too long is told', async () => {
    const { u32, timer } = field;
    const fields = { count: u32, periodMs: u32, expiresNs: timer };
    const schema = vmstate({ name: 'counter', version: 2, minimumVersion: 1, fields });
    const decode: typeof schema.decode = (bytes, place) =>
      place.version === 1 ? { count: 0, periodMs: 0, expiresNs: 0n } : schema.decode(bytes, place);
    const conformance = { ...COUNTER.conformance!, older: { 1: '00000007 0000000a ffffffffffffffff' } };
    const state = { ...schema, decode } as unknown as DeviceDefinition['state'];
    expect(await failures({ ...COUNTER, state, conformance })).toMatchObject({
      'a state that is cut short is an error that names the field': 'its first 0 of 16 bytes load without an error',
      'a state that goes on too long is an error': 'its 16 bytes with 1 more load without an error',
    });
  });

  test('that throws in its trace is told at which step', async () => {
    const fragile = flawed((good) => ({
      reset: () => {
        throw new Error(`no reset for ${typeof good}`);
      },
    }));
    expect(Object.values(await failures(fragile)).join('\n')).toMatch(/step 6 \(reset\): .*no reset for object/);
  });

  test('without conformance data is told what to add', async () => {
    const { conformance: _, ...bare } = COUNTER;
    const reasons = Object.values(await failures(bare));
    expect(reasons).toHaveLength(conformanceChecks(bare).length);
    expect(new Set(reasons)).toEqual(new Set([expect.stringMatching(/add \{ registers: .* trace: /)]));
  });
});
