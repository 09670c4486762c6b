import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

// As bin/switchover.js does: a thread of ours then starts in 40 ms instead of 150, and tests start thousands.
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'node-compile-cache');

// Where others use the machine, a test with real threads and deadlines may be starved once; twice is a failure.
const retry = process.env['CI'] === undefined ? 0 : 1;

/** Three projects: unit (fast, no QEMU), e2e (whole processes), interop (a real QEMU; skipped with a reason without one). */
export default defineConfig({
  test: {
    reporters: ['default'],
    // node:ffi is experimental in Node 26 and says so once per process.
    execArgv: ['--disable-warning=ExperimentalWarning'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts', 'src/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/interop/**'],
          testTimeout: 30_000,
          retry,
          maxWorkers: '100%',
        },
      },
      {
        test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], testTimeout: 120_000, retry, fileParallelism: false },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          globalSetup: 'test/support/say-why-skipped.ts',
          testTimeout: 120_000,
          retry,
          fileParallelism: false,
        },
      },
    ],
  },
});
