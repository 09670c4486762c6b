/**
 * Compiles the AssemblyScript kernels of src/threads/kernels to WebAssembly: NAME.wasm for a 32-bit memory, and for page
 * kernels also NAME64.wasm for a 64-bit one; and writes the exports' TypeScript signatures to kernel-exports.ts.
 * `node scripts/build-kernels.ts [OUTPUT_DIR]`: src/threads by default, where the committed results are.
 *
 * AssemblyScript has no 64-bit target to choose, but its compiler has one inside. A transform switches it on, the text
 * form gets a 64-bit memory, and binaryen does what remains (so the sources must do address arithmetic in u64).
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

/** Kernels that touch guest pages, and so are also needed for RAM above 4 GiB. */
const PAGE_KERNELS: ReadonlySet<string> = new Set(['pages', 'guest', 'xbzrle']);

/** AssemblyScript's own number for its unfinished wasm64 target. */
const TARGET_WASM64 = 2;

/** A compiler transform; the compiler puts `program` on its prototype before making one. */
class SwitchTo64 {
  declare readonly program: { options: { target: number } };

  afterParse(): void {
    this.program.options.target = TARGET_WASM64;
  }
}

/** Largest memories V8 gives, in 64 KiB pages: 4 GiB and 16 GiB. */
const MAX_PAGES_32 = 65_536;
const MAX_PAGES_64 = 262_144;

const ASC_FLAGS = [
  '--enable=simd,threads,bulk-memory,nontrapping-f2i',
  '--importMemory',
  '--sharedMemory',
  '--initialMemory=1',
  `--maximumMemory=${MAX_PAGES_32}`,
  '--runtime=stub',
  '--use=abort=',
];
const BINARYEN_FEATURES = [
  '--enable-memory64',
  '--enable-simd',
  '--enable-threads',
  '--enable-bulk-memory',
  '--enable-nontrapping-float-to-int',
];

const sourceDir = fileURLToPath(new URL('../src/threads/kernels/', import.meta.url));

async function compile(name: string, args: string[], transforms: object[] = []): Promise<void> {
  const { error, stderr } = await asc.main([`${name}.ts`, `--baseDir=${sourceDir}`, ...ASC_FLAGS, ...args], {
    transforms: transforms as never,
  });
  if (error !== null) throw new Error(`${name}.ts does not compile:\n${stderr.toString()}`, { cause: error });
}

async function build32(name: string, wasmDir: string): Promise<void> {
  await compile(name, ['-O3', `--outFile=${join(wasmDir, `${name}.wasm`)}`]);
}

async function build64(name: string, wasmDir: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'switchover-kernels-'));
  try {
    const text = join(scratch, `${name}.wat`);
    await compile(name, ['--noValidate', `--textFile=${text}`], [SwitchTo64]);
    const before = readFileSync(text, 'utf8');
    const after = before.replace(`1 ${MAX_PAGES_32} shared`, `i64 1 ${MAX_PAGES_64} shared`);
    if (after === before) throw new Error(`${name}.wat does not import the memory this script asked for`);
    writeFileSync(text, after);
    const raw = join(scratch, `${name}.wasm`);
    binaryen('wasm-as', [text, ...BINARYEN_FEATURES, '-o', raw]);
    binaryen('wasm-opt', [raw, ...BINARYEN_FEATURES, '-O3', '-o', join(wasmDir, `${name}64.wasm`)]);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function binaryen(tool: string, args: string[]): void {
  const compiler = createRequire(import.meta.resolve('assemblyscript/asc'));
  execFileSync(process.execPath, [join(dirname(compiler.resolve('binaryen')), 'bin', tool), ...args], {
    stdio: 'inherit',
  });
}

/** The interface of one kernel, from its source: f64, u32 and i32 are all numbers in JavaScript. */
function kernelInterface(name: string): string {
  const source = readFileSync(join(sourceDir, `${name}.ts`), 'utf8');
  const methods = source.matchAll(/(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\nexport function (\w+)\(([^)]*)\): (\w+) \{/g);
  const lines = Array.from(methods, ([, doc = '', method = '', parameters = '', result = '']) => {
    const list = parameters
      .trim()
      .split(/,\s*/)
      .filter((parameter) => parameter !== '');
    const typed = list.map((parameter) => {
      const [parameterName = '', type = ''] = parameter.split(': ');
      return `${parameterName}: ${numberType(`${name}.${method}`, type)}`;
    });
    const returns = result === 'void' ? 'void' : numberType(`${name}.${method}`, result);
    return `${doc}\n${wrapSignature(method, typed, returns)}`.replaceAll(/^/gm, '  ');
  });
  const files = PAGE_KERNELS.has(name) ? `${name}.wasm and ${name}64.wasm` : `${name}.wasm`;
  return `/** Exports of ${files}. */\nexport interface ${interfaceName(name)} {\n${lines.join('\n\n')}\n}\n`;
}

/** One line if it fits the formatter's 120 columns, else one parameter per line. */
function wrapSignature(method: string, parameters: string[], returns: string): string {
  const line = `${method}(${parameters.join(', ')}): ${returns};`;
  if (line.length <= 118) return line;
  return `${method}(\n${parameters.map((parameter) => `  ${parameter},\n`).join('')}): ${returns};`;
}

function numberType(where: string, type: string): 'number' {
  if (['f64', 'u32', 'i32'].includes(type)) return 'number';
  throw new Error(`${where}: a kernel's export takes and returns f64, u32 or i32, not '${type}'`);
}

function interfaceName(kernel: string): string {
  return `${kernel.replace(/^./, (letter) => letter.toUpperCase())}Kernel`;
}

function kernelExports(names: string[]): string {
  const header = `/**
 * What the WebAssembly kernels export: generated from src/threads/kernels by scripts/build-kernels.ts, do not edit.
 * Results that are u32 in the source arrive as signed 32-bit numbers; \`>>> 0\` makes them unsigned.
 */
`;
  const table = names.map((name) => `  readonly ${name}: ${interfaceName(name)};\n`).join('');
  const all = `/** Every kernel by name. */\nexport interface KernelExports {\n${table}}\n`;
  return [header, ...names.map(kernelInterface), all].join('\n');
}

const outputDir = process.argv[2] ?? join(sourceDir, '..');
const wasmDir = join(outputDir, 'kernels');
mkdirSync(wasmDir, { recursive: true });
const names = readdirSync(sourceDir)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length))
  .sort();
for (const name of names) {
  await build32(name, wasmDir);
  if (PAGE_KERNELS.has(name)) await build64(name, wasmDir);
}
writeFileSync(join(outputDir, 'kernel-exports.ts'), kernelExports(names));
console.log(`built ${names.join(', ')} in ${outputDir}`);
