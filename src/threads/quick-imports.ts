/**
 * Imports within this package, resolved without asking the file system. Node asks where the real file is and which package it
 * belongs to, for each module in every thread anew: a tenth of what a device's thread takes to start.
 */

/** Where src and workers are: the sources, or dist. */
const ROOT = new URL('../../', import.meta.url).href;
const OURS = [`${ROOT}src/`, `${ROOT}workers/`];
const FORMAT = import.meta.url.endsWith('.ts') ? 'module-typescript' : 'module';

/** From now on in this thread; authors' modules are resolved as ever. */
export function quickImports(): void {
  const { registerHooks } = process.getBuiltinModule('node:module');
  registerHooks({
    resolve: (specifier, context, next) => {
      const importer = context.parentURL;
      if (importer === undefined || !specifier.startsWith('.') || !OURS.some((folder) => importer.startsWith(folder))) {
        return next(specifier, context);
      }
      return { url: new URL(specifier, importer).href, format: FORMAT, shortCircuit: true };
    },
  });
}
