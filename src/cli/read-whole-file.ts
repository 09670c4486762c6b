/** Files of any size in memory: one `readFile` of Node's ends at 2 GiB, and RAM images and streams are larger. */

import { open } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';

const CHUNK_BYTES = 64 * 1024 * 1024;

/** The bytes of a file, as long as it was when opened; of a pipe, all that comes. */
export async function readWholeFile(path: string): Promise<Uint8Array> {
  await using file = await open(path);
  const status = await file.stat();
  if (status.isDirectory()) throw new Error('it is a directory');
  if (!status.isFile()) return await buffer(file.createReadStream()); // the file stays open until then
  const bytes = new Uint8Array(status.size);
  let at = 0;
  while (at < bytes.length) {
    const { bytesRead } = await file.read(bytes, at, Math.min(CHUNK_BYTES, bytes.length - at), at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.subarray(0, at);
}
