#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
// The command line's entry. Plain JavaScript on purpose: it must run, and explain, on a Node that is too old for
// everything else. In a checkout it runs src/ as it is, in the published package dist/.
import { existsSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const newEnough = major > 24 || (major === 24 && minor >= 12);

if (newEnough) await run();
else await runWithInstalledNode();

async function run() {
  // Started by an older Node (see below): when that process goes, this one goes too, as SIGTERM would end it.
  if (process.channel) {
    process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
    process.channel.unref();
  }
  // node:ffi (huge pages) is experimental; the hint would be noise on every start. Other warnings still show.
  const [showWarning] = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    if (warning.name !== 'ExperimentalWarning') showWarning?.(warning);
  });
  // In the environment as well, because there a worker thread looks: a vCPU then starts in 40 ms instead of 200.
  process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache');
  nodeModule.enableCompileCache?.();
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const built = new URL('../dist/src/cli/main.js', import.meta.url);
  const { main } = await import((existsSync(source) ? source : built).href);
  await main(process.argv.slice(2));
}

/** A checkout brings its own Node as a devDependency; hand everything to it, and end as it ends. */
async function runWithInstalledNode() {
  const installed = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
  if (!existsSync(installed)) {
    console.error(
      `switchover needs Node >= 24.12 but this is ${process.version}; run "npm ci", which installs the right Node beside it.`,
    );
    process.exit(3);
  }
  const { spawn } = await import('node:child_process');
  const args = ['--disable-warning=ExperimentalWarning', fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(installed, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`switchover cannot start ${installed}: ${error.message}`);
    process.exit(3);
  });
  child.on('exit', (code, signal) => {
    for (const name of signals) process.removeAllListeners(name);
    if (signal !== null) process.kill(process.pid, signal);
    else process.exit(code ?? 3);
  });
}
