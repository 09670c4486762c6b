/** The recorded streams under test/streams, unpacked. */

import { readFileSync } from 'node:fs';
import { gunzipSync, inflateSync } from 'node:zlib';

/** The bytes of one recording by its file name; `.gz` and `.zz` are unpacked. */
export function recordedStream(name: string): Uint8Array {
  const bytes = readFileSync(new URL(`../streams/${name}`, import.meta.url));
  if (name.endsWith('.gz')) return gunzipSync(bytes);
  return name.endsWith('.zz') ? inflateSync(bytes) : bytes;
}
