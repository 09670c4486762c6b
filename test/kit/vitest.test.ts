/** The adapter: one line declares a test for each check of the device at a path. */

import { testDevice } from '../../src/kit/vitest.ts';

await testDevice('./test/support/devices/counter.ts');
