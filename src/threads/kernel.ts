/**
 * Instances of the compiled WebAssembly kernels (src/threads/kernels, built by scripts/build-kernels.ts). Each module is
 * read and compiled once per thread; an instance costs microseconds.
 */

import { readFileSync } from '../base/node-fs.ts';
import type { KernelExports } from './kernel-exports.ts';

/** The index type of a WebAssembly memory: `i64` for RAM above 4 GiB. */
export type AddressType = 'i32' | 'i64';

const modules = new Map<string, WebAssembly.Module>();

/** What a kernel imports beside its memory: exports of other kernels, by kernel. */
type KernelImports = Record<string, Record<string, (...values: number[]) => unknown>>;

/**
 * An instance of kernel `name` over `memory`, whose index type is `address`. Only page kernels exist for `i64`.
 * The exports take and return numbers for both.
 */
export function loadKernel<K extends keyof KernelExports>(
  name: K,
  memory: WebAssembly.Memory,
  address: AddressType = 'i32',
  imports: KernelImports = {},
): KernelExports[K] {
  const module = compiled(address === 'i64' ? `${name}64` : name);
  const instance = new WebAssembly.Instance(module, { env: { memory }, ...imports });
  // The types were generated from the source that this module was compiled from.
  return instance.exports as unknown as KernelExports[K];
}

function compiled(file: string): WebAssembly.Module {
  let module = modules.get(file);
  if (module === undefined) {
    module = new WebAssembly.Module(readFileSync(new URL(`./kernels/${file}.wasm`, import.meta.url)));
    modules.set(file, module);
  }
  return module;
}
