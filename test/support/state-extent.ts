/** Drives a schema's search for the end of a state over bytes in memory, as a stream would. */

import type { StateSchema } from '../../src/hw/vmstate/schema.ts';

/** Where the state ends in `bytes`, which may go on; undefined when they end before. Every view is scribbled over later. */
export function stateEnd(
  schema: Pick<StateSchema<unknown>, 'version' | 'extent'>,
  bytes: Uint8Array,
  version = schema.version,
): number | undefined {
  const extent = schema.extent(version);
  let at = 0;
  let lent = new Uint8Array(0);
  for (let step = extent.next(); step.done !== true; ) {
    const asked = step.value;
    const count = 'peek' in asked ? asked.peek : asked.take;
    if (at + count > bytes.length) return undefined;
    // What was handed out before is only valid until now.
    lent.fill(0xee);
    lent = new Uint8Array(bytes.subarray(at, at + count));
    if ('take' in asked) at += count;
    step = extent.next(lent);
  }
  return at;
}
