/** Entry of a device's thread. */

import type { DeviceThreadData } from '../src/hw/device-thread.ts';
import { runWorker } from '../src/threads/worker-entry.ts';

await runWorker<DeviceThreadData>(async () => (await import('../src/hw/device-loop.ts')).runDevice);
