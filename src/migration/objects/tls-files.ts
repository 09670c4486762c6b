/** The files of TLS credentials: read once, when the object is made, with QEMU's texts for those that are not there. */

import { readFileSync, statSync } from 'node:fs';
import { HarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';

/** Certificates and keys have a few KiB. */
const MAX_FILE_BYTES = 1024 * 1024;

/** A file of the directory and its content. */
export interface CredentialsFile {
  readonly path: string;
  readonly content: Buffer;
}

/** Reads a file that must be there. Throws `qmp/generic`. */
export function credentialsFile(dir: string | undefined, name: string): CredentialsFile {
  const path = pathOf(dir, name);
  try {
    return readSmall(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Reads a file that may be missing. Throws `qmp/generic` when it is there and cannot be read. */
export function optionalCredentialsFile(dir: string | undefined, name: string): CredentialsFile | undefined {
  const path = pathOf(dir, name);
  try {
    return readSmall(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw unreadable(path, error);
  }
}

function pathOf(dir: string | undefined, name: string): string {
  if (dir === undefined) throw new HarnessError('qmp/generic', { text: "Missing 'dir' property value" });
  return `${dir}/${name}`; // an empty one is the root, as in QEMU
}

function readSmall(path: string): CredentialsFile {
  const { size } = statSync(path);
  if (size > MAX_FILE_BYTES) throw new Error(`${size} bytes are more than the ${MAX_FILE_BYTES} of any credentials`);
  return { path, content: readFileSync(path) };
}

function unreadable(path: string, cause: unknown): HarnessError {
  const text = `Unable to access credentials ${path}: ${systemReason(cause)}`;
  return new HarnessError('qmp/generic', { text }, { cause });
}
