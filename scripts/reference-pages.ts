/** The pages of docs/reference, each made from the table that the program itself works with. Pure but for reading limits.ts. */

import { readFileSync } from 'node:fs';
import { ERRORS, EXIT_CODES } from '../src/base/errors.ts';
import type { Kind, KindShape } from '../src/base/kinds.ts';
import { VM_OPTIONS } from '../src/cli/vm-option-table.ts';
import { OBJECT_TYPE_NAMES, objectRow } from '../src/migration/objects/object-kinds.ts';
import { CAPABILITY_NAMES, capabilityRow, REMOVED_CAPABILITIES } from '../src/migration/options/capabilities.ts';
import { PARAMETER_NAMES, type ParameterName, parameterRow } from '../src/migration/options/parameters.ts';
import { PROPERTIES, PROPERTY_NAMES } from '../src/migration/options/properties.ts';
import { REMOVED_PARAMETERS } from '../src/migration/options/removed-parameters.ts';
import { COMMANDS } from '../src/qmp/commands.ts';
import { EVENTS } from '../src/qmp/events.ts';

type Row = readonly string[];

/** Texts of the pages by file name. */
export function referencePages(): Readonly<Record<string, string>> {
  return {
    'README.md': page('Reference', [
      'Made by `npm run build:reference` from the tables in the sources; do not edit.',
      ...Object.entries(PAGES).map(([name, { title }]) => `- [${title}](${name})`),
    ]),
    ...Object.fromEntries(Object.entries(PAGES).map(([name, { title, body }]) => [name, page(title, body())])),
  };
}

const PAGES: Readonly<Record<string, { readonly title: string; readonly body: () => readonly string[] }>> = {
  'capabilities.md': { title: 'Migration capabilities', body: capabilities },
  'parameters.md': { title: 'Migration parameters', body: parameters },
  'properties.md': { title: 'Migration properties', body: properties },
  'qmp-commands.md': { title: 'QMP commands', body: commands },
  'qmp-events.md': { title: 'QMP events', body: events },
  'objects.md': { title: 'Objects', body: objects },
  'vm-options.md': { title: 'Options of `switchover vm`', body: vmOptions },
  'errors.md': { title: 'Errors', body: errors },
  'limits.md': { title: 'Limits', body: limits },
};

function capabilities(): string[] {
  const rows = CAPABILITY_NAMES.map((name): Row => {
    const row = capabilityRow(name);
    return [
      code(name),
      row.since,
      row.side,
      row.dataPath === true ? 'yes' : `no: ${row.dataPath}`,
      [...(row.requires ?? []).map(code), ...(row.needs === undefined ? [] : [row.needs])].join(', '),
      (row.excludes ?? []).map(code).join(', '),
      row.beforeIncoming === true ? 'before the listener is open' : '',
      row.global === undefined ? '' : code(row.global),
      row.summary,
    ];
  });
  const removed = Object.entries(REMOVED_CAPABILITIES).map(
    ([name, row]): Row => [code(name), row.since, row.removed, row.side, code(row.global), row.summary],
  );
  return [
    'All are off at first. They can be changed with `migrate-set-capabilities` while no outgoing migration is under way, and ' +
      'at the start with `-global migration.NAME=on`. One that does not work here is refused with the reason.',
    table(
      [
        'name',
        'since QEMU',
        'side',
        'works here',
        'requires',
        'not with',
        'on a destination',
        '`-global`',
        'what it does',
      ],
      rows,
    ),
    '## Removed in QEMU 9.1',
    'Their names are not accepted.',
    table(['name', 'since', 'removed', 'side', '`-global` was', 'what it did'], removed),
  ];
}

function parameters(): string[] {
  const removed = Object.entries(REMOVED_PARAMETERS).map(
    ([name, row]): Row => [code(name), row.since, row.removed, row.type, String(row.initial), row.summary],
  );
  return [
    'They can be set at any time with `migrate-set-parameters`, and at the start with `-global migration.NAME=VALUE`.',
    table(
      [
        'name',
        'since QEMU',
        'type',
        'default',
        'range',
        'side',
        'looked at',
        'works here',
        '`-global`',
        'what it does',
      ],
      PARAMETER_NAMES.map(parameterLine),
    ),
    '## Removed in QEMU 9.1',
    'They are unexpected arguments.',
    table(['name', 'since', 'removed', 'type', 'default', 'what it did'], removed),
  ];
}

function parameterLine(name: ParameterName): Row {
  const { since, kind, unit, initial, range, side, applies, effect, global, summary } = parameterRow(name);
  const { minimum, maximum } = range ?? {};
  const bounds =
    minimum === undefined || maximum === undefined
      ? ''
      : maximum === Number.POSITIVE_INFINITY
        ? `from ${minimum}`
        : `${minimum} to ${maximum}`;
  return [
    code(name),
    since,
    `${typeText(kind)}${unit === undefined ? '' : `, ${unit}`}`,
    initial === undefined ? 'unset' : initial === '' ? 'empty' : String(initial),
    bounds,
    side,
    applies,
    effect === 'effective' ? 'yes' : effect === 'stored' ? 'kept and reported' : `in part: ${effect.reason}`,
    global === undefined ? '' : code(global),
    summary,
  ];
}

function properties(): string[] {
  return [
    'Only `-global migration.NAME=VALUE` sets them.',
    table(
      ['name', 'type', 'default', 'what it does'],
      PROPERTY_NAMES.map((name) => {
        const { kind, initial, summary } = PROPERTIES[name];
        return [code(name), typeText(kind), typeof initial === 'boolean' ? onOff(initial) : String(initial), summary];
      }),
    ),
  ];
}

function commands(): string[] {
  return [
    'Arguments with `?` may be left out. Commands marked oob may be sent with `exec-oob`.',
    table(
      ['command', 'arguments', 'what it does'],
      Object.entries(COMMANDS).map(([name, row]) => [
        `${code(name)}${row.allowOob ? ' oob' : ''}`,
        argumentsText(row.args),
        row.summary,
      ]),
    ),
  ];
}

function events(): string[] {
  return [
    table(
      ['event', 'data', 'when'],
      Object.entries(EVENTS).map(([name, { data, summary }]) => [
        code(name),
        data === undefined ? '' : argumentsText(data),
        summary,
      ]),
    ),
  ];
}

function objects(): string[] {
  return [
    'Made by `-object TYPE,id=ID,…` and `object-add`, deleted by `object-del` unless they are in use.',
    table(
      ['type', 'arguments', 'what it is'],
      OBJECT_TYPE_NAMES.map((type) => [code(type), argumentsText(objectRow(type).kind), objectRow(type).summary]),
    ),
  ];
}

function vmOptions(): string[] {
  return [
    table(
      ['option', 'argument', 'meaning'],
      VM_OPTIONS.map(({ names, argument, help }) => [
        names.map((name) => code(`-${name}`)).join(' '),
        argument === undefined ? '' : code(argument),
        help,
      ]),
    ),
  ];
}

function errors(): string[] {
  return [
    'An error is a code, its details and a sentence made of them; `{…}` stands for a detail.',
    table(
      ['code', 'sentence', 'QMP class', 'exit code'],
      Object.entries(ERRORS).map(([name, row]) => [
        code(name),
        // Each sentence takes its own details; here every detail is its own name.
        String((row.sentence as (details: object) => string)(placeholders())),
        row.qmpClass,
        String(EXIT_CODES[row.exit]),
      ]),
    ),
  ];
}

function limits(): string[] {
  const rows = ['src/wire/limits.ts', 'src/qmp/limits.ts'].flatMap((path) => {
    const text = readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
    return [...text.matchAll(/\/\*\* ([^*]+) \*\/\s+([A-Z_]+): ([^,]+),/g)].map(
      ([, comment = '', name = '', value = '']): Row => [code(name), code(value), comment.trim()],
    );
  });
  return [
    'What a peer can make this program read, allocate or wait for. The name is in the error.',
    table(['name', 'value', 'of what'], rows),
  ];
}

/** An object on which every property is a text with its name, whatever a sentence does with it. `hint` is not there. */
function placeholders(): object {
  return new Proxy({}, { get: (_, key) => (key === 'hint' ? undefined : placeholder(String(key))) });
}

function placeholder(name: string): object {
  const text = `{${name}}`;
  return { toString: () => text, join: () => text, length: 1 };
}

function argumentsText(kind: Kind<unknown>): string {
  const { shape } = kind;
  if (shape?.type === 'struct') {
    return Object.entries(shape.members)
      .map(([name, member]) => `${code(name)}${member.required ? '' : '?'}: ${typeText(member.kind)}`)
      .join(', ');
  }
  if (shape?.type === 'union')
    return `${code(shape.tag)}: ${Object.keys(shape.branches).map(code).join(', ')}, and its own`;
  return typeText(kind);
}

function typeText(kind: Kind<unknown>): string {
  return kind.shape === undefined ? kind.name : shapeText(kind.shape);
}

function shapeText(shape: KindShape): string {
  switch (shape.type) {
    case 'enum':
      return shape.names.length > 8 ? 'name' : shape.names.map(code).join(' or ');
    case 'array':
      return `list of ${typeText(shape.element)}`;
    case 'struct':
    case 'union':
      return 'object';
    default:
      return shape satisfies never;
  }
}

function page(title: string, body: readonly string[]): string {
  return `# ${title}\n\n${body.join('\n\n')}\n`.replaceAll(/(^- .*)\n\n(?=- )/gm, '$1\n');
}

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}
