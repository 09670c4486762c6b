/** Entry of a RAM scout's thread. */

import type { ScoutShare } from '../src/hw/ram-scout.ts';
import { runWorker } from '../src/threads/worker-entry.ts';

await runWorker<ScoutShare>(async () => {
  const { runScout } = await import('../src/hw/ram-scout-loop.ts');
  return (data, port) => runScout(data, port.ready);
});
