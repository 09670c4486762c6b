/** What QEMU's machines send of a 16550A: section `serial`, version 3. Names on the stream are QEMU's. */

import { field, type StateOf, vmstate } from '../../device.ts';
import { FIFO_BYTES } from './registers.ts';

const FIFO = vmstate({
  name: 'Fifo8',
  version: 1,
  memoryBytes: 24,
  fields: {
    data: field.allocated(field.since(1, field.buffer(FIFO_BYTES))),
    head: field.u32,
    num: field.u32,
    fits: field.validate(
      `head below ${FIFO_BYTES}, num at most ${FIFO_BYTES}`,
      ({ head, num }: { head: number; num: number }) => head < FIFO_BYTES && num <= FIFO_BYTES,
    ),
  },
});

const thrPending = vmstate({
  name: 'serial/thr_ipending',
  version: 1,
  fields: { pending: field.named('thr_ipending', field.i32) },
});
const unsent = vmstate({
  name: 'serial/tsr',
  version: 1,
  fields: { retries: field.named('tsr_retry', field.u32), thr: field.u8, tsr: field.u8 },
});
const received = vmstate({
  name: 'serial/recv_fifo',
  version: 1,
  fields: { fifo: field.named('recv_fifo', field.since(1, field.struct(FIFO))) },
});
const toSend = vmstate({
  name: 'serial/xmit_fifo',
  version: 1,
  fields: { fifo: field.named('xmit_fifo', field.since(1, field.struct(FIFO))) },
});
const timeoutTimer = vmstate({
  name: 'serial/fifo_timeout_timer',
  version: 1,
  fields: { expiresNs: field.named('fifo_timeout_timer', field.timer) },
});
const timeoutPending = vmstate({
  name: 'serial/timeout_ipending',
  version: 1,
  fields: { pending: field.named('timeout_ipending', field.i32) },
});
/** Only of a UART on a real line, whose modem status is polled; ours has none and does not send it. */
const poll = vmstate({
  name: 'serial/poll',
  version: 1,
  fields: {
    pollsModemStatus: field.named('poll_msl', field.i32),
    pollTimer: field.named('modem_status_poll', field.timer),
  },
});

const UART = vmstate({
  name: 'serial',
  version: 3,
  minimumVersion: 2,
  memoryBytes: 640,
  fields: {
    divisor: field.named('divider', field.since(2, field.u16)),
    rbr: field.u8,
    ier: field.u8,
    iir: field.u8,
    lcr: field.u8,
    mcr: field.u8,
    lsr: field.u8,
    msr: field.u8,
    scr: field.u8,
    fcr: field.named('fcr_vmstate', field.since(3, field.u8)),
  },
  subsections: { thrPending, unsent, received, toSend, timeoutTimer, timeoutPending, poll },
});

/** The section. Its version is passed to nobody: what is inside has its own. */
export const SERIAL_STATE = vmstate({
  name: 'serial',
  version: 3,
  minimumVersion: 2,
  fields: { uart: field.named('state', field.struct(UART)) },
});

/** The state as the device saves it. */
export type SerialState = StateOf<typeof SERIAL_STATE>;
