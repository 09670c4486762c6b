/** Why the system refused, in the C library's words, which QEMU's clients match on. */

import { messageOf } from './errors.ts';

const TEXTS: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  ENOTDIR: 'Not a directory',
  EISDIR: 'Is a directory',
  EACCES: 'Permission denied',
};

/** The text for the reasons people meet; otherwise Node's message. */
export function systemReason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return TEXTS[code] ?? messageOf(error);
}
