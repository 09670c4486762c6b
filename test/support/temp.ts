/** Temporary directories that disappear with the test: `await using dir = await tempDir()`. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of its own, removed with everything in it on disposal. */
export interface TempDir extends AsyncDisposable {
  readonly path: string;
  /** The path of an entry in the directory; short enough for a unix socket. */
  file(name: string): string;
}

/** Makes an empty directory under the system's temporary one. */
export async function tempDir(): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), 'switchover-'));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
  };
}
