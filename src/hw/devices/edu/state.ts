/** What the teaching device is made of besides its class: registers, buffer, and when its two engines will be done. */

import { field } from '../../vmstate/field.ts';
import { type StateOf, vmstate } from '../../vmstate/vmstate.ts';
import { BUFFER_BYTES } from './registers.ts';

/** Its section on the stream. */
export const EDU_STATE = vmstate({
  name: 'edu',
  version: 1,
  fields: {
    liveness: field.u32,
    factorial: field.u32,
    status: field.u32,
    interruptStatus: field.u32,
    dmaSource: field.u64,
    dmaDestination: field.u64,
    dmaCount: field.u64,
    dmaCommand: field.u64,
    factorialDone: field.timer,
    dmaDone: field.timer,
    buffer: field.buffer(BUFFER_BYTES),
  },
});

/** Its state as an object. */
export type EduState = StateOf<typeof EDU_STATE>;
