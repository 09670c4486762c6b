/** The threads of an outgoing migration, by QEMU's names (`query-migrationthreads`, spec/control.md §5.2). */

import type { ChannelThreads } from './multifd/channel-threads.ts';
import { isRunning, type MigrationStatus } from './status.ts';
import type { MigrationThread } from './vm-control.ts';

/** The machine's own thread, which sends what the main channel carries, and one for each multifd channel; none while nothing goes out. */
export function migrationThreads(status: MigrationStatus, channels: ChannelThreads): readonly MigrationThread[] {
  if (!isRunning(status)) return [];
  const main = { name: 'mig/src/main', 'thread-id': process.pid };
  const senders = channels.atWork('multifd-send').map((id, n) => ({ name: `mig/src/send_${n}`, 'thread-id': id }));
  return [main, ...senders];
}
