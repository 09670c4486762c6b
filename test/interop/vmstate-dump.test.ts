/** `-dump-vmstate`: what QEMU writes of devices that we model too is what we write, and `check` reads both. */

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { field } from '../../src/hw/vmstate/field.ts';
import type { DumpedField } from '../../src/hw/vmstate/schema.ts';
import { vmstate } from '../../src/hw/vmstate/vmstate.ts';
import { QEMU, whyNoQemu } from '../support/qemu.ts';
import { runSwitchover } from '../support/run-switchover.ts';
import { tempDir } from '../support/temp.ts';

const skipped = whyNoQemu();

const SHARED = ['isa-serial', 'mc146818rtc', 'isa-pit'];

/** QEMU's interface to a management controller: of its devices the one that has a struct in an older version. */
const KCS = vmstate({
  name: 'ipmi-interface-kcs',
  version: 2,
  minimumVersion: 1,
  memoryBytes: 976,
  fields: {
    obf_irq_set: field.bool,
    atn_irq_set: field.bool,
    unused: field.when(() => false, field.unused(1)),
    irqs_enabled: field.bool,
    outpos: field.u32,
    outlen: field.since(2, field.u32),
    outmsg: field.array(field.u8, 300),
    inlen: field.since(2, field.u32),
    inmsg: field.array(field.u8, 300),
    write_end: field.bool,
    status_reg: field.u8,
    data_out_reg: field.u8,
    data_in_reg: field.i16,
    cmd_reg: field.i16,
    waiting_rsp: field.u8,
  },
});

function dumpOfQemu(file: string, ...args: string[]): string {
  const { status, stderr } = spawnSync(QEMU, [...args, '-display', 'none', '-dump-vmstate', file], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return file;
}

describe.skipIf(skipped !== undefined)(`vmstate dumps${skipped === undefined ? '' : ` (${skipped})`}`, () => {
  test("devices that are QEMU's have QEMU's entries, member by member", async () => {
    await using directory = await tempDir();
    const qemu = dumpOfQemu(directory.file('qemu'), '-M', 'isapc', '-device', 'isa-serial');
    const ours = directory.file('ours');
    expect(await runSwitchover(['vm', '-M', 'none', '-device', 'edu', '-dump-vmstate', ours])).toMatchObject({
      exitCode: 0,
      stdout: '',
      stderr: '',
    });
    const [theirs, own] = [qemu, ours].map((file) => JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>);
    for (const name of SHARED) expect(JSON.stringify(own?.[name])).toBe(JSON.stringify(theirs?.[name]));
    expect(own?.['vmschkmachine']).toEqual({ Name: 'none' });

    // `check` finds the same: of the shared devices it tells nothing.
    const { exitCode, stdout } = await runSwitchover(['check', ours, qemu, '--json']);
    expect(exitCode).toBe(1);
    const { differences } = JSON.parse(stdout) as { differences: { path: string; kind: string }[] };
    expect(differences.filter(({ path }) => SHARED.some((name) => path.startsWith(name)))).toEqual([]);
    expect(differences.map(({ kind }) => kind)).toContain('device-missing');
  });

  test('a struct in a version of its own is told as QEMU tells one', async () => {
    await using directory = await tempDir();
    const file = dumpOfQemu(directory.file('qemu'), '-M', 'pc', '-nodefaults');
    const qemu = JSON.parse(readFileSync(file, 'utf8')) as Record<string, { Description?: { Fields?: DumpedField[] } }>;
    const theirs = qemu['pci-ipmi-kcs']?.Description?.Fields?.find((entry) => entry.field === 'kcs');
    const outer = vmstate({ name: 'outer', version: 1, fields: { kcs: field.since(1, field.vstruct(KCS, 1)) } });
    expect(JSON.stringify(outer.dump().Fields?.[0])).toBe(JSON.stringify(theirs));
    // No device of a PC has a temporary in what is dumped: there is nothing to compare ours with.
    expect(readFileSync(file, 'utf8')).not.toContain('"field": "tmp"');
  });

  test("of QEMU's own machines only the machine differs, and devices that were changed by hand", async () => {
    await using directory = await tempDir();
    const old = dumpOfQemu(directory.file('old'), '-M', 'pc-i440fx-7.2', '-device', 'edu');
    const recent = dumpOfQemu(directory.file('recent'), '-M', 'pc-i440fx-10.0');
    expect(await runSwitchover(['check', recent, recent])).toMatchObject({ exitCode: 0, stderr: '' });
    const { stdout, exitCode } = await runSwitchover(['check', old, recent, '--json']);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ differences: [{ kind: 'machine', path: 'vmschkmachine.Name' }] });

    const text = readFileSync(recent, 'utf8');
    const newer = text.replace(/("Name": "hpet",\n\s*"version_id": )2(,[^{]*\{[^{]*?"version_id": )2/, '$13$23');
    expect(newer).not.toBe(text);
    const changed = directory.file('changed');
    writeFileSync(changed, newer);
    const junit = directory.file('junit.xml');
    const check = (...args: string[]) => runSwitchover(['check', recent, changed, '--junit', junit, ...args]);
    expect(await check('--direction', 'forward')).toMatchObject({ exitCode: 0 });
    expect(await check()).toMatchObject({
      exitCode: 1,
      stdout: expect.stringContaining('A to B is fine, B to A breaks  hpet.version_id: version: 2 | 3'),
    });
    expect(readFileSync(junit, 'utf8').match(/<failure/g)).toHaveLength(1);
  });

  test('a dump that was cut is bad input, a file that is not there is missing', async () => {
    await using directory = await tempDir();
    const whole = dumpOfQemu(directory.file('whole'), '-M', 'none');
    const cut = directory.file('cut');
    writeFileSync(cut, readFileSync(whole).subarray(0, 5000));
    expect(await runSwitchover(['check', whole, cut])).toMatchObject({
      exitCode: 2,
      stdout: '',
      stderr: expect.stringMatching(/bad vmstate dump '.*cut' at line \d+ column \d+: expected/),
    });
    expect(await runSwitchover(['check', whole, directory.file('none')])).toMatchObject({ exitCode: 3 });
    expect(await runSwitchover(['check', '-', whole], readFileSync(whole))).toMatchObject({ exitCode: 0 });
  });
});
