/** Entry of a device's thread. */

import { runDevice } from '../src/hw/device-loop.ts';
import type { DeviceThreadData } from '../src/hw/device-thread.ts';
import { runWorker } from '../src/threads/worker-port.ts';

await runWorker<DeviceThreadData>(runDevice);
