import { defineConfig } from 'vitest/config';

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
        },
      },
      { test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], testTimeout: 120_000, fileParallelism: false } },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          globalSetup: 'test/support/say-why-skipped.ts',
          testTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
