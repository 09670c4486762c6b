/**
 * Where worker entries are: workers/NAME beside src, in the sources as in dist. Nobody imports an entry; the name is
 * the link. `rewriteRelativeImportExtensions` does not see `new URL`, so the ending follows this file's own.
 */

/** The URL of a worker's entry, for `new Worker`. */
export function workerUrl(name: string): URL {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`../../workers/${name}.${ending}`, import.meta.url);
}
