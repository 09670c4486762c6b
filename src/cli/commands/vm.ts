/**
 * `switchover vm`: builds the machine its command line describes, opens its monitors, and lives until it is told to quit.
 * Everything loaded here is loaded before the QMP greeting, so nothing is that the machine does not need.
 */

import { rmSync, writeFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { EXIT_CODES, HarnessError, messageOf } from '../../base/errors.ts';
import { createLogger, type Logger } from '../../base/log.ts';
import type { DeviceConfig } from '../../hw/device-thread.ts';
import { parseGuestOption } from '../../hw/guest/guest-options.ts';
import { PRACTICE_DEVICE } from '../../hw/vfio/practice-device.ts';
import { ObjectRegistry } from '../../migration/objects/object-registry.ts';
import { IDLE_CONTEXT } from '../../migration/options/capabilities.ts';
import { MigrationOptions } from '../../migration/options/options.ts';
import { rehearse } from '../../migration/rehearsal.ts';
import { Vm } from '../../migration/vm.ts';
import { parseIncoming } from '../../qmp/incoming-option.ts';
import { parseMonitors } from '../../qmp/monitor-options.ts';
import { QmpServer } from '../../qmp/server.ts';
import { deviceConfigs } from '../device-configs.ts';
import { packageVersion } from '../version.ts';
import { REHEARSED } from '../vm-channel.ts';
import { parseVmOptions, type VmOptions, vmHelp } from '../vm-options.ts';

const LONGEST_TIMER_MS = 2 ** 31 - 1;
const QUIT_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Runs the machine; resolves with the exit code once it is gone. */
export async function runVm(args: readonly string[]): Promise<number> {
  const line = parseVmOptions(args);
  if (line.kind === 'help') {
    process.stdout.write(vmHelp());
    return EXIT_CODES.ok;
  }
  if (line.kind === 'version') {
    process.stdout.write(`switchover ${packageVersion()}\n`);
    return EXIT_CODES.ok;
  }
  if (line.options.dumpVmstate !== undefined) {
    const { writeVmstateDump } = await import('../vmstate-dump.ts');
    await writeVmstateDump(line.options.dumpVmstate, line.options);
    return EXIT_CODES.ok;
  }
  return runMachine(line.options);
}

async function runMachine(options: VmOptions): Promise<number> {
  const monitors = parseMonitors(options);
  const migrationOptions = new MigrationOptions();
  migrationOptions.setGlobals(
    options.globals.map(({ name, value }) => ({ name, text: value })),
    { ...IDLE_CONTEXT, kvmDirtyRing: options.dirtyRingPages !== undefined },
  );
  const objects = new ObjectRegistry();
  for (const texts of options.objects) objects.addFromTexts(texts);
  const log = createLogger();
  writePidFile(options.pidFile);
  // Before there is anything that others can see: a signal may come while the machine is still being built.
  let machine: Vm | undefined;
  let isAsked = false;
  const quit = () => {
    isAsked = true;
    machine?.quit('host-signal').catch((error: unknown) => log.error({ err: error }, 'quit failed'));
  };
  for (const signal of QUIT_SIGNALS) process.on(signal, quit);
  // As in QEMU, a monitor that waits for its client holds the guest and the incoming migration back.
  const held = monitors.some((monitor) => monitor.kind === 'server' && monitor.wait);
  const devices = await deviceConfigs(options.devices);
  await using vm = await Vm.create({
    machineType: options.machineType,
    ramBytes: options.ramBytes,
    suppressDescription: options.suppressDescription,
    startPaused: options.startPaused || held,
    onlyMigratable: options.onlyMigratable,
    loaders: options.loaders,
    devices,
    guests: options.guests.map((text) => parseGuestOption(text)),
    options: migrationOptions,
    objects,
    log,
    ...defined({
      resourceBytes: options.resourceBytes,
      dirtyRingPages: options.dirtyRingPages,
      ramBlockName: options.ramBlockName,
      name: options.name,
      uuid: options.uuid,
      // Begun below, whose errors are to name the option.
      incoming: options.incoming === undefined ? undefined : 'defer',
    }),
  });
  machine = vm;
  if (isAsked) quit();
  if (!held) await startIncoming(vm, options.incoming);

  // A machine without monitor, guest and migration waits for nothing, and yet lives.
  const alive = setInterval(() => undefined, LONGEST_TIMER_MS);
  const warn = (text: string) => log.warn(text);
  const opening = QmpServer.start({ vm, monitors, packageVersion: packageVersion(), warn });
  // A signal may end the machine while a monitor still waits for its client; then there is nothing to close.
  const server = await Promise.race([opening, vm.exited.then(() => undefined)]);
  if (held && server !== undefined) await release(vm, options);
  scoutOnceSource(vm, options, log);
  const rehearsal = rehearsed(vm, devices, log);
  const exitCode = await vm.exited;
  await rehearsal;
  clearInterval(alive);
  await server?.[Symbol.asyncDispose]();
  return exitCode;
}

/** A machine that waits for a migration has nothing to send before it runs, and saves the memory of a thread until then. */
function scoutOnceSource(vm: Vm, options: VmOptions, log: Logger): void {
  const scout = () =>
    vm.scoutRam().catch((error: unknown) => log.info({ err: error }, 'no thread looks for zero pages'));
  if (options.incoming === undefined) void scout();
  else vm.onEvent((event) => event.name === 'RESUME' && void scout());
}

/** Practises, and tells whoever started this process with an ipc channel. */
async function rehearsed(vm: Vm, devices: readonly DeviceConfig[], log: Logger): Promise<void> {
  const vfio = devices.filter(({ definition }) => definition.vfio === true);
  await rehearse(log, async () => ({
    practice: vfio.length === 0 ? [] : await deviceConfigs([PRACTICE_DEVICE]),
    devices: await Promise.all(vfio.map(({ id }) => vm.device(id))),
  }));
  // Compiled code is kept for the next start at once: Node would do it at the end, which a machine that is killed has not.
  flushCompileCache();
  process.send?.(REHEARSED, undefined, undefined, () => undefined); // who started it may be gone
}

/** What `Vm.create` was not told to do yet. */
async function release(vm: Vm, options: VmOptions): Promise<void> {
  await startIncoming(vm, options.incoming);
  if (!options.startPaused) await vm.cont();
}

/** Begins what `-incoming` asks for. Throws `cli/usage` with the option and QEMU's reason. */
async function startIncoming(vm: Vm, text: string | undefined): Promise<void> {
  if (text === undefined || text === 'defer') return;
  try {
    await vm.migrateIncoming(parseIncoming(text));
  } catch (error) {
    throw new HarnessError('cli/usage', { text: `-incoming ${text}: ${messageOf(error)}` }, { cause: error });
  }
}

/** The members that are there: an absent option must be absent, not undefined. */
function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  // The filter does what the type says; Object.fromEntries forgets the keys.
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** The file is there as long as the process, however that ends. */
function writePidFile(path: string | undefined): void {
  if (path === undefined) return;
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (error) {
    throw new HarnessError('cli/environment', { text: `-pidfile: ${messageOf(error)}` }, { cause: error });
  }
  process.once('exit', () => rmSync(path, { force: true }));
}
