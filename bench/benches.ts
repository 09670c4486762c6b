/** The table of benchmarks: a line each, loaded when it runs. */

import type { Bench } from './support/bench.ts';

/** Benchmarks by name. */
export const BENCHES: Readonly<Record<string, () => Promise<Bench>>> = {
  accuracy: async () => (await import('./accuracy.ts')).accuracyBench,
  devices: async () => (await import('./devices.ts')).devicesBench,
  limits: async () => (await import('./limits.ts')).limitsBench,
  multifd: async () => (await import('./multifd.ts')).multifdBench,
  'multifd-devices': async () => (await import('./multifd-devices.ts')).multifdDevicesBench,
  qmp: async () => (await import('./qmp.ts')).qmpBench,
  stream: async () => (await import('./stream.ts')).streamBench,
  'switchover-ack': async () => (await import('./switchover-ack.ts')).switchoverAckBench,
};
