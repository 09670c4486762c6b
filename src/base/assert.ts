/** Assertions about our own code; what a peer or a user got wrong is a HarnessError with its own code instead. */

import { HarnessError } from './errors.ts';

/** Throws `internal/assertion` with the reason why the condition had to hold. */
export function assert(condition: boolean, why: string): asserts condition {
  if (!condition) throw new HarnessError('internal/assertion', { why });
}
