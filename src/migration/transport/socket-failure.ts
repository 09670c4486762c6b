/** Why nothing can listen at an address, or nothing answers there, in QEMU's words, which clients match on. */

import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';
import { HarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import type { Address } from './address.ts';
import { unresolved } from './tcp-address.ts';

/** Of getaddrinfo(3), for a name that nobody knows. */
export const NO_SUCH_NAME = 'Name or service not known';

/** A failed listen: `transport/open`, or `transport/resolve` for a host that nobody knows. */
export function listenFailure(address: Extract<Address, { kind: 'tcp' | 'unix' }>, cause: unknown): HarnessError {
  if (address.kind === 'tcp') {
    if (isUnknownName(cause)) return unresolved(address, NO_SUCH_NAME);
    const what = isInUse(cause) ? 'find an available port' : 'bind socket';
    return failure(address.uri, `Failed to ${what}: ${systemReason(cause)}`, cause);
  }
  const reason = address.abstract === undefined ? reasonAt(address.path, cause) : systemReason(cause);
  return failure(address.uri, `Failed to bind socket to ${address.path}: ${reason}`, cause);
}

/** A file that is in the way of a unix socket. */
export function unlinkFailure({ path, uri }: { path: string; uri: string }, cause: unknown): HarnessError {
  return failure(uri, `Failed to unlink socket ${path}: ${systemReason(cause)}`, cause);
}

/** A host name that nobody knows, or that nobody can be asked about. */
export function isUnknownName(error: unknown): boolean {
  return codeOf(error) === 'ENOTFOUND' || codeOf(error) === 'EAI_AGAIN';
}

/** There is no such file. */
export function isAbsent(error: unknown): boolean {
  return codeOf(error) === 'ENOENT';
}

/** Somebody else listens there. */
export function isInUse(error: unknown): boolean {
  return codeOf(error) === 'EADDRINUSE';
}

function failure(uri: string, why: string, cause: unknown): HarnessError {
  return new HarnessError('transport/open', { uri, why }, { cause });
}

/** libuv says EACCES for ENOENT as well when it binds; which it was, the directory tells. */
function reasonAt(path: string, cause: unknown): string {
  if (codeOf(cause) !== 'EACCES') return systemReason(cause);
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
    return 'No such file or directory';
  } catch (error) {
    return systemReason(error);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
