import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/qmp/commands.ts';
import { EVENTS } from '../../src/qmp/events.ts';
import { qmpSchema } from '../../src/qmp/schema.ts';

/** An entry of query-qmp-schema, as far as these tests read it. */
interface Entry {
  readonly name: string;
  readonly 'meta-type': string;
  readonly 'arg-type'?: string;
  readonly 'ret-type'?: string;
  readonly 'allow-oob'?: boolean;
  readonly 'element-type'?: string;
  readonly 'json-type'?: string;
  readonly members?: readonly { readonly name?: string; readonly type?: string; readonly default?: null }[];
  readonly variants?: readonly { readonly case: string; readonly type: string }[];
  readonly values?: readonly string[];
  readonly tag?: string;
}

const SCHEMA = qmpSchema() as Entry[];

function entry(name: string | undefined): Entry {
  const found = SCHEMA.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no entry '${name}'`);
  return found;
}

describe('query-qmp-schema', () => {
  test('has every command and every event, each name once', () => {
    const names = (metaType: string) =>
      SCHEMA.filter((candidate) => candidate['meta-type'] === metaType).map(({ name }) => name);
    expect(names('command')).toEqual(Object.keys(COMMANDS));
    expect(names('event')).toEqual(Object.keys(EVENTS));
    expect(new Set(SCHEMA.map(({ name }) => name)).size).toBe(SCHEMA.length);
  });

  test('refers only to types that it has', () => {
    const referred = SCHEMA.flatMap(({ members = [], variants = [], ...rest }) => [
      rest['arg-type'],
      rest['ret-type'],
      rest['element-type'],
      ...members.map(({ type }) => type),
      ...variants.map(({ type }) => type),
    ]).filter((name) => name !== undefined);
    expect(referred.filter((name) => !SCHEMA.some((candidate) => candidate.name === name))).toEqual([]);
  });

  test('marks what may run out of band, as QEMU does', () => {
    const oob = SCHEMA.filter((candidate) => candidate['allow-oob'] === true).map(({ name }) => name);
    expect(oob.sort()).toEqual(['migrate-pause', 'migrate-recover', 'query-yank', 'yank']);
  });

  test('marks what is deprecated and what is unstable, as QEMU does', () => {
    const marked = (members: readonly { readonly name?: string; readonly features?: readonly string[] }[]) =>
      members.flatMap(({ name, features }) => (features === undefined ? [] : [`${name}: ${features}`]));
    expect(marked(SCHEMA.filter((candidate) => candidate['meta-type'] === 'command'))).toEqual([
      'query-migrationthreads: deprecated',
      'x-colo-lost-heartbeat: unstable',
      'x-debug-block-dirty-bitmap-sha256: unstable',
    ]);
    expect(marked(entry(entry('migrate-set-parameters')['arg-type']).members ?? [])).toEqual([
      'x-checkpoint-delay: unstable',
      'x-vcpu-dirty-limit-period: unstable',
    ]);
    const capability = SCHEMA.find(({ values }) => values?.includes('zero-blocks'));
    expect(marked(capability?.members ?? [])).toEqual([
      'zero-blocks: deprecated',
      'x-colo: unstable',
      'x-ignore-shared: unstable',
    ]);
  });

  test('describes optional members, lists, choices, unions and alternates', () => {
    const migrate = entry(entry('migrate')['arg-type']);
    expect(migrate.members).toContainEqual({ name: 'uri', type: 'str', default: null });
    const channels = migrate.members?.find(({ name }) => name === 'channels')?.type;
    const channel = entry(entry(channels)['element-type']);
    const address = entry(channel.members?.find(({ name }) => name === 'addr')?.type);
    expect(address).toMatchObject({ 'meta-type': 'object', tag: 'transport' });
    expect(address.variants?.map((variant) => variant.case)).toEqual(['socket', 'exec', 'rdma', 'file']);

    const parameters = entry(entry('migrate-set-parameters')['arg-type']);
    const credentials = entry(parameters.members?.find(({ name }) => name === 'tls-creds')?.type);
    expect(credentials).toMatchObject({ 'meta-type': 'alternate', members: [{ type: 'str' }, { type: 'null' }] });
    const status = entry(entry(entry('MIGRATION')['arg-type']).members?.[0]?.type);
    expect(status.values).toContain('pre-switchover');
    expect(entry('int')).toEqual({ name: 'int', 'meta-type': 'builtin', 'json-type': 'int' });
    expect(entry(entry('stop')['arg-type']).members).toEqual([]);
    const answer = entry(entry('query-status')['ret-type']);
    expect(answer.members?.map(({ name }) => name)).toEqual(['status', 'running']);
  });
});
