/** What docs/differences.md says about control, on a whole machine. */

import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { CAPABILITIES, CAPABILITY_NAMES, IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { Vm } from '../../src/migration/vm.ts';
import { precopyStream } from '../support/precopy-streams.ts';
import { tempDir } from '../support/temp.ts';

function machine(config: { incoming?: string; capabilities?: readonly string[] }): Promise<Vm> {
  const options = new MigrationOptions();
  const on = (config.capabilities ?? []).map((capability) => ({ capability, state: true }));
  options.setCapabilities(on, IDLE_CONTEXT);
  return Vm.create({
    machineType: 'none',
    ramBytes: 1 << 20,
    startPaused: true,
    ...(config.incoming === undefined ? {} : { incoming: config.incoming }),
    options,
    log: silentLogger,
  });
}

test('a return path over a file is refused at migrate, and nothing has happened', async () => {
  await using dir = await tempDir();
  await using vm = await machine({ capabilities: ['return-path'] });
  const refused = vm.migrate({ uri: `file:${dir.file('stream')}` });
  await expect(refused).rejects.toThrow('needs a transport that goes both ways');
  expect(vm.queryMigrate()).toEqual({});
  expect(vm.queryStatus().status).toBe('prelaunch');
});

test('an incoming migration that could not listen may be tried again', async () => {
  await using dir = await tempDir();
  await using vm = await machine({ incoming: 'defer' });
  await expect(vm.migrateIncoming({ uri: `unix:${dir.file('missing/m.sock')}` })).rejects.toThrow('Failed to bind');
  expect(vm.queryMigrate()).toEqual({});
  const path = dir.file('m.sock');
  await vm.migrateIncoming({ uri: `unix:${path}`, 'exit-on-error': false });
  expect(vm.queryMigrate()).toMatchObject({ status: 'setup' });
  const { bytes } = precopyStream('none-1m-file.main');
  const socket = connect(path);
  socket.write(bytes);
  socket.resume();
  await new Promise((resolve) => socket.once('end', resolve));
  expect(vm.queryMigrate()).toMatchObject({ status: 'completed' });
});

test('a capability without a data path is refused with the reason, and stays off', () => {
  const options = new MigrationOptions();
  const without = CAPABILITY_NAMES.filter((name) => CAPABILITIES[name].dataPath !== true);
  expect(without).toContain('background-snapshot');
  expect(without).toContain('postcopy-ram');
  for (const capability of without) {
    expect(() => options.setCapabilities([{ capability, state: true }], IDLE_CONTEXT)).toThrow();
    expect(options.isOn(capability)).toBe(false);
  }
  const set = () => options.setCapabilities([{ capability: 'x-colo', state: true }], IDLE_CONTEXT);
  expect(set).toThrow("Capability 'x-colo' cannot be switched on: this build has no data path for it yet");
});
