/** What `switchover vm` says to whoever started it with an ipc channel; what else is said is said over QMP. */

/** It has rehearsed a migration (migration/rehearsal.ts): the next one is as fast as any. */
export const REHEARSED = 'rehearsed';
