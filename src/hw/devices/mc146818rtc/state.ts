/** What QEMU's machines send of their real-time clock: section `mc146818rtc`, version 3. Names on the stream are QEMU's. */

import { field, type StateOf, vmstate } from '../../device.ts';
import { CMOS_BYTES } from './registers.ts';

/** Only of a clock whose lost ticks are caught up with when the guest acknowledges one; ours loses none. */
const reinjected = vmstate({
  name: 'mc146818rtc/irq_reinject_on_ack_count',
  version: 1,
  fields: { count: field.named('irq_reinject_on_ack_count', field.u16) },
});

/** The section. Its unused space held the time, as numbers, until QEMU 1.3. */
export const RTC_STATE = vmstate({
  name: 'mc146818rtc',
  version: 3,
  minimumVersion: 1,
  fields: {
    cmos: field.named('cmos_data', field.buffer(CMOS_BYTES)),
    index: field.named('cmos_index', field.u8),
    formerTime: field.unused(28),
    periodicTimer: field.named('periodic_timer', field.timer),
    nextPeriodicNs: field.named('next_periodic_time', field.i64),
    formerTimers: field.unused(24),
    irqCoalesced: field.named('irq_coalesced', field.since(2, field.u32)),
    period: field.since(2, field.u32),
    baseSeconds: field.named('base_rtc', field.since(3, field.u64)),
    lastUpdateNs: field.named('last_update', field.since(3, field.u64)),
    offsetNs: field.named('offset', field.since(3, field.i64)),
    updateTimer: field.named('update_timer', field.since(3, field.timer)),
    nextAlarmNs: field.named('next_alarm_time', field.since(3, field.u64)),
  },
  subsections: { reinjected },
  postLoad: (state, version) => {
    if (state.index >= CMOS_BYTES) throw new Error(`index ${state.index} is beyond the ${CMOS_BYTES} registers`);
    // Without a base there is the time that the registers show: one that is later than any makes the clock begin there.
    return version < 3 ? { ...state, lastUpdateNs: 2n ** 64n - 1n } : undefined;
  },
});

/** The state as the device saves it. */
export type RtcState = StateOf<typeof RTC_STATE>;
