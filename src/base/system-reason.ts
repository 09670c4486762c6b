/** Why the system refused, in the C library's words, which QEMU's clients match on. */

import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { messageOf } from './errors.ts';

/** Where libuv has other words. */
const TEXTS: Readonly<Record<string, string>> = {
  EISDIR: 'Is a directory',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EINVAL: 'Invalid argument',
};

/** The text for an error of the system; otherwise Node's message. */
export function systemReason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const errno = (constants.errno as Readonly<Record<string, number>>)[code];
  const [, text] = (errno === undefined ? undefined : getSystemErrorMap().get(-errno)) ?? [];
  if (text === undefined) return messageOf(error);
  return TEXTS[code] ?? text.charAt(0).toUpperCase() + text.slice(1);
}
