/** Entry of a RAM scout's thread. */

import type { ScoutShare } from '../src/hw/ram-scout.ts';
import { runScout } from '../src/hw/ram-scout-loop.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker<ScoutShare>((data, port) => runScout(data, port.ready));
