/**
 * A file descriptor (spec/wire.md §9.2): a byte on the stream, and the descriptor beside it, over SCM_RIGHTS. Node's sockets carry
 * none, so a state with one can be described and not sent; a machine with such a device refuses to migrate (unmigratable.ts).
 */

import { LAYOUTS } from '../../wire/struct.ts';
import { badValue } from './scalars.ts';
import { fixedField, type StateValue, unsavable } from './state-field.ts';

const DESCRIPTOR_MARK = 0x20;
const IN_MEMORY_BYTES = 4;
const NO_WAY = 'a transport that carries file descriptors, which sockets of Node do not';

/** A file descriptor by its number in this process. */
export const fd: StateValue<number> = {
  ...fixedField('fd', 1),
  isDescriptor: true,
  dump: () => ({ size: IN_MEMORY_BYTES }),
  zero: () => -1,
  write(_, value) {
    throw unsavable(NO_WAY, `descriptor ${value}`);
  },
  read(from) {
    const at = from.offset;
    const mark = from.next(LAYOUTS.u8);
    if (mark === DESCRIPTOR_MARK) throw badValue(at, NO_WAY, 'a descriptor announced');
    throw badValue(at, `0x${DESCRIPTOR_MARK.toString(16)} and a descriptor`, `0x${mark.toString(16)}`);
  },
};
