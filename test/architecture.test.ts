/**
 * What ARCHITECTURE.md and CONTRIBUTING.md promise about the sources, as far as text can tell: imports go one way, each
 * package and each kind of input and output has one owner, and files have the form that readers rely on.
 */

import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** Lowest first; a layer imports itself and the layers of the rows above its own. `index.ts` and workers/ come after all. */
const LAYERS = [['base'], ['wire'], ['threads'], ['hw'], ['migration'], ['qmp'], ['report', 'kit'], ['cli']];

/** What the parts of a layer may import where the layer's row alone would allow more. Paths in src, ending in `/` for folders. */
const RESTRICTIONS: readonly {
  readonly importer: RegExp;
  readonly allowed: (importer: string) => readonly string[];
}[] = [
  { importer: /^hw\/guest\//, allowed: () => ['hw/guest/', 'hw/ram.ts', 'threads/', 'wire/', 'base/'] },
  {
    importer: /^hw\/devices\/[^/]+\//,
    allowed: (file) => [`${dirname(file)}/`, 'hw/device.ts', 'hw/vmstate/', 'hw/vfio/', 'wire/', 'base/'],
  },
  // They know the machine by the interface they declare; only vm.ts and vm-devices.ts know which machine it is.
  {
    importer: /^migration\/(?!vm(-devices)?\.ts$)/,
    allowed: () => [
      'migration/',
      'hw/ram.ts',
      'hw/ram-window.ts',
      'hw/run-state.ts',
      'hw/vmstate/',
      'hw/vfio/',
      'threads/',
      'wire/',
      'base/',
    ],
  },
  {
    importer: /^migration\/options\//,
    allowed: () => ['migration/options/', 'migration/status.ts', 'hw/run-state.ts', 'wire/', 'base/'],
  },
];

/** Modules that only one file or folder may import. */
const OWNERS: Readonly<Record<string, string>> = {
  'buffer-layout': 'wire/struct.ts',
  pino: 'base/log.ts',
  piscina: 'threads/job-pool.ts',
  minizlib: 'migration/multifd/stream-compression.ts',
  commander: 'cli/program.ts',
  'node:worker_threads': 'threads/',
  vitest: 'kit/vitest.ts',
};

const MAX_LINES = 500;
const MAX_WORKER_LINES = 20;

const root = fileURLToPath(new URL('../', import.meta.url));
const SOURCES = files('src/**/*.ts', 'src');
const WORKERS = files('workers/*', 'workers');

describe('imports', () => {
  test('every folder of src is a layer', () => {
    const folders = new Set(SOURCES.filter(({ path }) => path.includes('/')).map(({ path }) => layerOf(path)));
    expect([...folders].filter((folder) => rankOf(folder) < 0)).toEqual([]);
  });

  test('go from a layer to itself or to one below', () => {
    const upwards = relativeImports().filter(({ from, to }) => {
      const [importer, imported] = [layerOf(from), layerOf(to)];
      return importer !== imported && rankOf(importer) <= rankOf(imported);
    });
    expect(upwards).toEqual([]);
  });

  test('stay within what guests, devices and migration may know', () => {
    const forbidden = RESTRICTIONS.flatMap(({ importer, allowed }) =>
      relativeImports()
        .filter(({ from }) => importer.test(from))
        .filter(({ from, to }) => !allowed(from).some((place) => isIn(to, place))),
    );
    expect(forbidden).toEqual([]);
  });

  test('name files that exist, by their .ts ending', () => {
    const broken = relativeImports().filter(({ to }) => !to.endsWith('.ts') || !existsSync(join(root, 'src', to)));
    expect(broken).toEqual([]);
  });

  test('never reach workers/', () => {
    const everything = ['src', 'test', 'bench', 'examples', 'scripts', 'bin'].flatMap((folder) =>
      files(`${folder}/**/*.{ts,js}`, '.'),
    );
    const reaching = everything.filter(({ text }) =>
      importsOf(text).some((specifier) => /^[./]+\/workers\//.test(specifier)),
    );
    expect(reaching.map(({ path }) => path)).toEqual([]);
  });

  test.each(Object.entries(OWNERS))('of %s are only in %s', (name, owner) => {
    const importers = SOURCES.filter(({ text }) => importsOf(text).includes(name)).map(({ path }) => path);
    expect(importers).not.toEqual([]);
    expect(importers.filter((path) => !isIn(path, owner))).toEqual([]);
  });

  test('follow the order that ARCHITECTURE.md gives', () => {
    const order = LAYERS.map((row) => row.join(', ')).join(' → ');
    expect(read('ARCHITECTURE.md')).toContain(`\`${order} → index\``);
  });
});

describe('a source file', () => {
  test.each(SOURCES)('$path has a header and at most 500 lines', ({ text }) => {
    expect(text).toMatch(/^\/\*\*[\s\S]*?\*\//);
    expect(lineCount(text)).toBeLessThanOrEqual(MAX_LINES);
  });

  test('has a docstring on every export', () => {
    const bare = SOURCES.flatMap(({ path, text }) => undocumentedExports(text).map((line) => `${path}: ${line}`));
    expect(bare).toEqual([]);
  });

  test('exports by name', () => {
    const withDefault = SOURCES.filter(({ path, text }) => !isIn(path, 'hw/devices/') && /^export default/m.test(text));
    expect(withDefault.map(({ path }) => path)).toEqual([]);
  });

  test('has no enum and no namespace, which type stripping cannot run', () => {
    const compiled = SOURCES.filter(({ path }) => !path.endsWith('.d.ts')).filter(({ text }) =>
      /^\s*(export )?(declare )?(const )?(enum|namespace|module) [\w.]+ *\{/m.test(text),
    );
    expect(compiled.map(({ path }) => path)).toEqual([]);
  });

  test('is called after what it is', () => {
    const vague = SOURCES.filter(({ path }) => /(^|\/)(utils?|helpers?|common|misc)(\.ts$|\/)/.test(path));
    const barrels = SOURCES.filter(
      ({ path }) => path.endsWith('/index.ts') && path !== 'hw/devices/index.ts' && path !== 'index.ts',
    );
    const shouting = SOURCES.filter(({ path }) => !/^[a-z0-9/.-]+$/.test(path));
    expect([...vague, ...barrels, ...shouting].map(({ path }) => path)).toEqual([]);
  });

  test('other than threads/native.ts says nothing of node:ffi', () => {
    const mentions = [...SOURCES, ...WORKERS].filter(({ text }) => text.includes('node:ffi'));
    expect(mentions.map(({ path }) => path)).toEqual(['threads/native.ts']);
  });
});

test.each(WORKERS)('worker entry $path has a header and no room for logic', ({ text }) => {
  expect(text).toMatch(/^\/\*\*/);
  expect(lineCount(text)).toBeLessThanOrEqual(MAX_WORKER_LINES);
});

describe('the checks themselves', () => {
  test('see every way to write an import', () => {
    const text = [
      "import { a } from './a.ts';",
      "import './b.ts';",
      "export { c } from './c.ts';",
      "await import('./d.ts');",
      "import {\n  type E,\n} from './e.ts';",
      "// import './not.ts'",
    ].join('\n');
    expect(importsOf(text)).toEqual(['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts']);
  });

  test('see an export without docstring', () => {
    expect(undocumentedExports('/** Yes. */\nexport const a = 1;\n\nexport function b() {}\n')).toEqual([
      'export function b() {}',
    ]);
  });
});

interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The files of a pattern, named relative to `base`. */
function files(pattern: string, base: string): SourceFile[] {
  return globSync(pattern, { cwd: root })
    .sort()
    .map((path) => ({ path: relative(base, path), text: read(path) }));
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

function relativeImports(): { from: string; to: string }[] {
  return SOURCES.flatMap(({ path, text }) =>
    importsOf(text)
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => ({ from: path, to: join(dirname(path), specifier) })),
  );
}

function importsOf(text: string): string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  return Array.from(code.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g), ([, specifier = '']) => specifier);
}

/** Re-exports need none: their docstring is where they are declared. */
function undocumentedExports(text: string): string[] {
  const lines = text.split('\n');
  return lines.filter(
    (line, index) =>
      /^export (async |abstract |declare )*(function\*?|class|const|interface|type) \w/.test(line) &&
      !lines[index - 1]?.trimEnd().endsWith('*/'),
  );
}

/** The first folder of a path in src; `index` for src/index.ts. */
function layerOf(path: string): string {
  return path === 'index.ts' ? 'index' : (path.split('/')[0] ?? '');
}

function rankOf(layer: string): number {
  return layer === 'index' ? LAYERS.length : LAYERS.findIndex((row) => row.includes(layer));
}

function isIn(path: string, place: string): boolean {
  return place.endsWith('/') ? path.startsWith(place) : path === place;
}

function lineCount(text: string): number {
  return text.trimEnd().split('\n').length;
}
