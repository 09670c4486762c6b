/** Global set-up of the interop project: says once, in words, why its tests are skipped, if they are. */

import { whyNoQemu } from './qemu.ts';

/** Prints the reason on stderr; with CI=true and no QEMU `whyNoQemu` throws, and the run fails. */
export function setup(): void {
  const reason = whyNoQemu();
  if (reason !== undefined) process.stderr.write(`interop tests are skipped: ${reason}\n`);
}
