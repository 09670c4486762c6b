/** What the Tab key offers: commands, then arguments that are not there yet, then the words that a value can be. */

import type { SchemaIndex } from './schema-index.ts';

/** Candidates for the last part of a line, and that part, as node:readline wants them. */
export function completeCommandLine(line: string, schema: SchemaIndex): [candidates: string[], part: string] {
  const part = /\S*$/.exec(line)?.[0] ?? '';
  const before = line.slice(0, line.length - part.length).trim();
  const candidates = before === '' ? schema.commands : argumentCandidates(before, part, schema);
  return [candidates.filter((candidate) => candidate.startsWith(part)).map(spaced), part];
}

function argumentCandidates(before: string, part: string, schema: SchemaIndex): readonly string[] {
  const [command = '', ...given] = before.split(/\s+/);
  if (command === 'help') return given.length === 0 ? schema.commands : [];
  const equals = part.indexOf('=');
  const path = (equals < 0 ? part : part.slice(0, equals)).split('.');
  let members = schema.argumentsOf(command) ?? [];
  for (const key of path.slice(0, -1)) {
    members = schema.membersOf(members.find(({ name }) => name === key)?.type ?? '');
  }
  const head = path
    .slice(0, -1)
    .map((key) => `${key}.`)
    .join('');
  if (equals >= 0) {
    const type = members.find(({ name }) => name === path.at(-1))?.type ?? '';
    return schema.wordsOf(type).map((word) => `${part.slice(0, equals + 1)}${word}`);
  }
  const taken = new Set(given.map((word) => word.slice(0, Math.max(0, word.indexOf('=')))));
  return members.flatMap(({ name, type }) => {
    const key = `${head}${name}`;
    if (taken.has(key)) return [];
    return [`${key}${schema.membersOf(type).length > 0 ? '.' : '='}`];
  });
}

/** A candidate that is whole is followed by a space, one that goes on is not. */
function spaced(candidate: string): string {
  return /[=.]$/.test(candidate) ? candidate : `${candidate} `;
}
