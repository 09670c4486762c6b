/**
 * `fd:` (spec/control.md §6). A destination takes a number: a descriptor that this process was started with, a connected
 * socket, a pipe or a file. Names are those of `getfd`, and no monitor here can receive a descriptor.
 */

import { fstatSync, readFileSync, type Stats } from 'node:fs';
import { HarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import type { Channel } from './channel.ts';
import { openFile } from './file-channel.ts';
import { adoptSocket } from './socket-channel.ts';

const MAX_DESCRIPTOR = 2 ** 31 - 1;

/** QEMU's sentence for a name that `getfd` did not give. */
export function noSuchDescriptor(name: string): HarnessError {
  return new HarnessError('qmp/generic', { text: `File descriptor named '${name}' has not been found` });
}

/** Opens the receiving end. Throws `qmp/generic` in QEMU's words, and `transport/open` for what nothing can be read from. */
export async function openDescriptor({ name, uri }: { name: string; uri: string }): Promise<Channel> {
  if (!/^\d/.test(name)) throw noSuchDescriptor(name);
  const fd = Number(name);
  if (!/^\d+$/.test(name) || fd > MAX_DESCRIPTOR) {
    throw new HarnessError('qmp/generic', { text: `Invalid file descriptor number '${name}'` });
  }
  // bin/switchover.js hands standard input and output over to the newer Node, and no more.
  if (process.connected) throw unusable(fd, 'it does not get past the older Node that started this one');
  const stat = statOf(fd);
  if (stat.isFile()) return await openFile({ path: `/proc/self/fd/${fd}`, offset: positionOf(fd), uri });
  if (stat.isSocket() || stat.isFIFO()) return adoptSocket(fd, uri);
  throw unusable(fd, 'it is neither a socket nor a pipe nor a file');
}

function statOf(fd: number): Stats {
  try {
    return fstatSync(fd);
  } catch (cause) {
    throw unusable(fd, systemReason(cause), cause);
  }
}

/** Where the file is to be read from: whoever opened it may have read a part. */
function positionOf(fd: number): number {
  return Number(/^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? 0);
}

function unusable(fd: number, why: string, cause?: unknown): HarnessError {
  return new HarnessError(
    'transport/open',
    { uri: `fd:${fd}`, why: `Cannot use file descriptor ${fd}: ${why}` },
    { cause },
  );
}
