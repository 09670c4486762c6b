// Copies into dist what tsc does not: the compiled WebAssembly kernels, at the same place relative to their loader.
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const from = new URL('../src/threads/kernels/', import.meta.url);
const to = new URL('../dist/src/threads/kernels/', import.meta.url);
const kernels = readdirSync(from).filter((file) => file.endsWith('.wasm'));
if (kernels.length === 0) throw new Error(`no .wasm in ${fileURLToPath(from)}: run "npm run build:kernels" first`);
mkdirSync(to, { recursive: true });
for (const kernel of kernels) copyFileSync(new URL(kernel, from), new URL(kernel, to));
