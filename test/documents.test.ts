/** The documents at the root say what is: the README's program is the example, the map names every folder, links lead somewhere. */

import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../', import.meta.url));
const DOCUMENTS = [...globSync('*.md', { cwd: root }), ...globSync('docs/**/*.md', { cwd: root })];

test("the README's program is examples/migrate.ts without its header", () => {
  const [, program] = /^```ts\n([\s\S]*?)^```$/m.exec(read('README.md')) ?? [];
  expect(program).toBe(read('examples/migrate.ts').replace(/^\/\*\*.*\*\/\n\n/, ''));
});

test("the README's map names every folder of the sources and of the project", () => {
  const [, map = ''] = /## Map of the tree\n\n```text\n([\s\S]*?)```/.exec(read('README.md')) ?? [];
  const named = map.split('\n').map((line) => line.split(' ')[0]);
  const tree = [
    ...globSync('src/*/', { cwd: root }),
    ...globSync('{workers,test,bench,examples,scripts,docs}', { cwd: root }),
  ];
  expect(named.filter((name) => name !== '').sort()).toEqual(tree.map((path) => path.replace(/\/$/, '')).sort());
});

test.each(DOCUMENTS)('every relative link of %s leads to a file', (path) => {
  const links = Array.from(read(path).matchAll(/\]\((?!https?:)([^)#]+)/g), ([, target = '']) => target);
  expect(links.filter((target) => !existsSync(join(root, dirname(path), target)))).toEqual([]);
});

test.each(DOCUMENTS)('every npm script that %s mentions exists', (path) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const mentioned = Array.from(read(path).matchAll(/npm run ([a-z:]+)/g), ([, name = '']) => name);
  expect(mentioned.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}
