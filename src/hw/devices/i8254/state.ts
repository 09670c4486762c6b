/** What QEMU's machines send of an 8254: section `i8254`, version 3. Names on the stream are QEMU's. */

import { field, type StateOf, vmstate } from '../../device.ts';
import { CHANNELS } from './registers.ts';

const CHANNEL = vmstate({
  name: 'pit channel',
  version: 2,
  memoryBytes: 56,
  fields: {
    count: field.i32,
    latchedCount: field.named('latched_count', field.u16),
    countLatched: field.named('count_latched', field.u8),
    statusLatched: field.named('status_latched', field.u8),
    status: field.u8,
    readState: field.named('read_state', field.u8),
    writeState: field.named('write_state', field.u8),
    writeLatch: field.named('write_latch', field.u8),
    access: field.named('rw_mode', field.u8),
    mode: field.u8,
    bcd: field.u8,
    gate: field.u8,
    countLoadNs: field.named('count_load_time', field.i64),
    nextTransitionNs: field.named('next_transition_time', field.i64),
    isCount: field.validate(
      'count to be 1 to 65536',
      ({ count }: { count: number }) => count >= 1 && count <= 0x1_0000,
    ),
  },
});

/** The section. */
export const I8254_STATE = vmstate({
  name: 'i8254',
  version: 3,
  minimumVersion: 2,
  fields: {
    irqDisabled: field.named('channels[0].irq_disabled', field.since(3, field.u32)),
    channels: field.since(2, field.array(field.struct(CHANNEL), CHANNELS)),
    /** Of channel 0, once more. */
    nextTransitionNs: field.named('channels[0].next_transition_time', field.i64),
  },
});

/** The state as the device saves it. */
export type I8254State = StateOf<typeof I8254_STATE>;
/** One channel of it. */
export type ChannelState = StateOf<typeof CHANNEL>;
