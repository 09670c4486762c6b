/** docs/reference says what the tables say: `npm run build:reference` writes it. */

import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { referencePages } from '../scripts/reference-pages.ts';

const PAGES = referencePages();
const folder = new URL('../docs/reference/', import.meta.url);

test.each(Object.keys(PAGES))('docs/reference/%s is what `npm run build:reference` writes', (name) => {
  expect(readFileSync(new URL(name, folder), 'utf8')).toBe(PAGES[name]);
});

test('docs/reference has no other page', () => {
  expect(readdirSync(folder).sort()).toEqual(Object.keys(PAGES).sort());
});

test('every row of the tables has its line', () => {
  const lines = (name: string) => (PAGES[name]?.match(/^\| `/gm) ?? []).length;
  expect(lines('capabilities.md')).toBe(22 + 2);
  expect(lines('parameters.md')).toBe(29 + 5);
  expect(lines('errors.md')).toBeGreaterThan(20);
  expect(lines('limits.md')).toBeGreaterThan(15);
});
