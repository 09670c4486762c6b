/** Bytes that are here already, for a StreamReader. */

import type { ByteSource } from './channel.ts';

/** A source that gives these bytes and then ends. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  let rest = bytes;
  return {
    readv: undefined,
    read: async (into) => {
      const count = Math.min(into.length, rest.length);
      into.set(rest.subarray(0, count));
      rest = rest.subarray(count);
      return count;
    },
  };
}
