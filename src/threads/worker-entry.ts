/**
 * What a worker entry calls, and all that it imports before. Node asks where a module's real file is and which package it belongs
 * to, for each module in every thread anew: a tenth of what a device's thread takes to start. Here it does not have to.
 */

import type { WorkerBody } from './worker-port.ts';

/** Where src and workers are: the sources, or dist. */
const ROOT = new URL('../../', import.meta.url).href;
const OURS = [`${ROOT}src/`, `${ROOT}workers/`];
const FORMAT = import.meta.url.endsWith('.ts') ? 'module-typescript' : 'module';

/**
 * The whole of a worker entry: imports what the thread runs, and runs it. When either throws, the owner is told why; when what
 * runs returns, the thread ends.
 */
export async function runWorker<Data>(load: () => Promise<WorkerBody<Data>>): Promise<void> {
  resolveOursAtOnce();
  const { serveOwner } = await import('./worker-port.ts');
  await serveOwner(load);
}

/** Imports of one of our modules by another are what they say; everybody else's are resolved as ever. */
function resolveOursAtOnce(): void {
  process.getBuiltinModule('node:module').registerHooks({
    resolve: (specifier, context, next) => {
      const importer = context.parentURL;
      if (importer === undefined || !specifier.startsWith('.') || !OURS.some((folder) => importer.startsWith(folder))) {
        return next(specifier, context);
      }
      return { url: new URL(specifier, importer).href, format: FORMAT, shortCircuit: true };
    },
  });
}
