/** What has become of a promise, once the event loop has turned some times. */

import { turn } from './watched-vm.ts';

const TURNS = 5;

/** How it ended, or that it has not. */
export async function settled(promise: Promise<unknown>): Promise<'resolved' | 'rejected' | 'pending'> {
  let state: 'resolved' | 'rejected' | 'pending' = 'pending';
  promise.then(
    () => {
      state = 'resolved';
    },
    () => {
      state = 'rejected';
    },
  );
  for (let n = 0; n < TURNS; n += 1) await turn();
  return state;
}
