/** How devices of tests misbehave, as their properties say: in which call, how, and whether every time. */

import { existsSync, writeFileSync } from 'node:fs';
import { choice, count, text } from '../../../src/hw/device.ts';

/** The properties of a device that can misbehave. */
export const FAULTS = {
  fault: text('', 'the call that goes wrong; several are joined with +, and CALL=HOW has a way of its own'),
  how: choice(['throw', 'hang', 'spin', 'never', 'reject', 'exit'], 'throw', 'what it does then'),
  armed: text('', 'a path: nothing goes wrong before that file is there'),
  after: count(0, 'how many times each call goes well first'),
  once: text('', 'a path: it makes PATH-CALL when the call goes wrong, which where that file is it does not'),
};

/** Their values. */
interface Faults {
  readonly fault: string;
  readonly how: string;
  readonly after: number;
  readonly once: string;
  readonly armed: string;
}

/** A function that is told of each call by name, and misbehaves when it is to. */
export function misbehaving(faults: Faults): (call: string) => Promise<never> | undefined {
  const { fault, after, once, armed } = faults;
  const hows = new Map(
    fault.split('+').map((one) => {
      const [call = '', how = faults.how] = one.split('=');
      return [call, how];
    }),
  );
  const calls = new Map<string, number>();
  return (call) => {
    const how = hows.get(call);
    if (how === undefined || (armed !== '' && !existsSync(armed))) return undefined;
    const count = (calls.get(call) ?? 0) + 1;
    calls.set(call, count);
    const mark = `${once}-${call.replaceAll('/', '-')}`;
    if (count <= after || (once !== '' && existsSync(mark))) return undefined;
    if (once !== '') writeFileSync(mark, '');
    if (how === 'throw') throw new Error(`told to fail in ${call}`);
    if (how === 'exit') process.exit(3);
    if (how === 'never') return new Promise(() => {});
    if (how === 'reject') {
      void Promise.reject(new Error(`told to lose a promise in ${call}`));
      return undefined;
    }
    // Hangs for good, without a processor's time or with.
    if (how === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    for (;;);
  };
}
