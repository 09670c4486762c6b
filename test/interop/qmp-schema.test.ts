/**
 * query-qmp-schema beside QEMU's: clients look there for what they may send and what they will get. Each command and event that
 * both have is compared with all types within; what differs is listed here, and nothing else may.
 */

import { beforeAll, describe, expect, test } from 'vitest';
import type { PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { startPeer } from '../support/switchover-vm.ts';

const skipReason = whyNoQemu();

/** What differs, by command or event: places in the arguments (`arg`) or the result (`ret`). */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  // Fewer kinds of objects, and the id is told with each.
  'object-add': ['arg.qom-type', 'arg.id', 'arg.@*'],
  // No snapshots of disk images, by whichever monitor.
  'human-monitor-command': ['features'],
  'blockdev-snapshot': ['features'],
  // Fewer reasons to end.
  SHUTDOWN: ['arg.reason'],
  RESET: ['arg.reason'],
  // No postcopy, but `compress` of earlier versions and what is ours.
  'query-migrate': ['ret.postcopy-blocktime?', 'ret.postcopy-vcpu-blocktime?', 'ret.compression?', 'ret.x-switchover?'],
  // A name of a bitmap elsewhere is refused in the same words.
  'block-dirty-bitmap-merge': ['arg.bitmaps.[]'],
  // Always empty, and told as a list of anything: their elements have some of their own kind within.
  'query-block': ['ret.[]'],
  'query-named-block-nodes': ['ret.[]'],
  'query-pci': ['ret.[]'],
};

/** A type without names of types: text of a plain one, an object of its parts otherwise. */
type Shape = string | { readonly [part: string]: Shape };

interface Member {
  readonly name?: string;
  readonly type: string;
  readonly default?: null;
  readonly features?: readonly string[];
}

/** As query-qmp-schema tells it. */
interface Entry {
  readonly name: string;
  readonly 'meta-type': string;
  readonly 'json-type'?: string;
  readonly 'element-type'?: string;
  readonly 'arg-type'?: string;
  readonly 'ret-type'?: string;
  readonly members?: readonly Member[];
  readonly features?: readonly string[];
  readonly variants?: readonly { readonly case: string; readonly type: string }[];
}

class Schema {
  readonly #entries: ReadonlyMap<string, Entry>;

  constructor(entries: readonly Entry[]) {
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
  }

  /** Names of commands and events. */
  get interfaces(): string[] {
    return [...this.#entries.values()]
      .filter((entry) => entry['meta-type'] === 'command' || entry['meta-type'] === 'event')
      .map(({ name }) => name);
  }

  shapeOf(name: string): Shape | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    const result = entry['ret-type'] === undefined ? {} : { ret: this.#type(entry['ret-type'], []) };
    return {
      kind: `${entry['meta-type']}`,
      features: `${entry.features}`,
      arg: this.#type(entry['arg-type'] ?? '', []),
      ...result,
    };
  }

  #type(name: string, outer: readonly string[]): Shape {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new Error(`no type '${name}'`);
    if (outer.includes(name)) return 'as outside';
    const within = [...outer, name];
    const { members = [], variants = [] } = entry;
    switch (entry['meta-type']) {
      case 'builtin':
        return `${entry['json-type']}`;
      case 'enum':
        return members
          .map((member) => [member.name, ...(member.features ?? [])].join(':'))
          .toSorted()
          .join(' ');
      case 'array':
        return { '[]': this.#type(entry['element-type'] ?? '', within) };
      case 'alternate':
        return Object.fromEntries(members.map(({ type }, n) => [`or ${n}`, this.#type(type, within)]));
      default:
        return Object.fromEntries([
          ...members.map((member): [string, Shape] => [
            `${member.name}${'default' in member ? '?' : ''}`,
            member.features === undefined
              ? this.#type(member.type, within)
              : { type: this.#type(member.type, within), features: `${member.features}` },
          ]),
          ...variants.map((variant): [string, Shape] => [`@${variant.case}`, this.#type(variant.type, within)]),
        ]);
    }
  }
}

/** Places where two shapes differ. */
function differences(a: Shape | undefined, b: Shape | undefined, path: string): string[] {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b ? [] : [path];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].flatMap((key) => differences(a[key], b[key], path === '' ? key : `${path}.${key}`));
}

function isListed(place: string, listed: readonly string[]): boolean {
  return listed.some((known) =>
    known.endsWith('*') ? place.startsWith(known.slice(0, -1)) : place === known || place.startsWith(`${known}.`),
  );
}

describe.skipIf(skipReason !== undefined)(`the schema beside QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let qemu: Schema;
  let ours: Schema;

  beforeAll(async () => {
    const schemaOf = async (kind: PeerKind) => {
      await using peer = await startPeer(kind, { memory: '16M' });
      return new Schema((await peer.qmp.execute('query-qmp-schema')) as readonly Entry[]);
    };
    [qemu, ours] = [await schemaOf('qemu'), await schemaOf('switchover')];
  });

  test('has nothing that QEMU has not', () => {
    expect(ours.interfaces.filter((name) => qemu.shapeOf(name) === undefined)).toEqual([]);
  });

  test('differs from it where it is listed, and nowhere else', () => {
    const found = ours.interfaces.flatMap((name) =>
      differences(qemu.shapeOf(name), ours.shapeOf(name), '')
        .filter((place) => !isListed(place, KNOWN[name] ?? []))
        .map((place) => `${name}: ${place}`),
    );
    expect(found).toEqual([]);
  });

  test('every difference that is listed is still there', () => {
    const gone = Object.entries(KNOWN).flatMap(([name, listed]) => {
      const places = differences(qemu.shapeOf(name), ours.shapeOf(name), '');
      return listed
        .filter((known) => !places.some((place) => isListed(place, [known])))
        .map((known) => `${name}: ${known}`);
    });
    expect(gone).toEqual([]);
  });
});
