/**
 * A first migration that nobody waits for: two small machines inside this process, over TCP, while it is idle. Code
 * that runs for the first time is compiled first, and a migration whose code is new to the process takes 8 ms longer,
 * 1 ms of it while the guest stands still. With VFIO devices, whose threads rehearse as well, it is 26 ms and 7 of them.
 */

import { assert } from '../base/assert.ts';
import { systemClock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import type { RamBlock } from '../hw/ram.ts';
import { IDLE_CONTEXT } from './options/capabilities.ts';
import { MigrationOptions } from './options/options.ts';
import { Vm, type VmConfig } from './vm.ts';

const RAM_BYTES = 4 * 1024 ** 2;
/** Zero pages and data pages take turns: each kind has code of its own. */
const RUN_BYTES = 256 * 1024;
/** How often RAM is scanned before: WebAssembly is compiled again, for speed, after some 50 MiB. */
const SCANS = 32;
const LONGEST_MS = 2000;
const FINAL = ['completed', 'failed'];

/** What rehearses besides RAM, where the machine whose process it is has VFIO devices. */
interface VfioRehearsal {
  /** Devices of the small machines. */
  readonly practice: NonNullable<VmConfig['devices']>;
  /** The machine's own. */
  readonly devices: readonly { rehearse(): Promise<void> }[];
}

/** Migrates once. A rehearsal that fails, `vfio` included, costs speed and nothing else, so it only tells the log. */
export async function rehearse(log: Logger, vfio?: () => Promise<VfioRehearsal>): Promise<void> {
  const over = new AbortController();
  try {
    const { practice, devices } = (await vfio?.()) ?? { practice: [], devices: [] };
    await migrateOnce(practice, over.signal);
    await Promise.all(devices.map((device) => device.rehearse()));
  } catch (error) {
    log.info({ err: error }, 'the rehearsal of a migration failed');
  } finally {
    over.abort();
  }
}

async function migrateOnce(devices: VfioRehearsal['practice'], over: AbortSignal): Promise<void> {
  await using destination = await smallMachine(devices, 'defer');
  await using source = await smallMachine(devices);
  await destination.migrateIncoming({ uri: 'tcp:127.0.0.1:0', 'exit-on-error': false });
  for (let offset = 0; offset < RAM_BYTES; offset += 2 * RUN_BYTES) {
    source.ram.write(offset, new Uint8Array(RUN_BYTES));
    source.ram.write(offset + RUN_BYTES, new Uint8Array(RUN_BYTES).fill(1));
  }
  for (let n = 0; n < SCANS; n++) scan(source.ram);
  const ends = Promise.all([source, destination].map(finalStatus));
  await source.migrate({ uri: uriOf(destination) });
  await Promise.race([ends, lateness(over)]);
}

/** Rejects when it takes so long that something must be wrong: another program may have connected in between. */
async function lateness(over: AbortSignal): Promise<never> {
  await systemClock.sleep(LONGEST_MS, over).catch(() => undefined); // ended early: the race is over
  throw new HarnessError('transport/timeout', {
    uri: 'tcp:127.0.0.1',
    what: 'the end of the rehearsal',
    waitedMs: LONGEST_MS,
  });
}

/** What a first pass does with RAM, and as if nothing had been sent. */
function scan(ram: RamBlock): void {
  ram.beginSave();
  for (let page = 0; page < ram.pageCount; ) {
    page = ram.takePages({ firstPage: page, maxPages: ram.pageCount, detectZero: true }).nextPage;
  }
  ram.endSave();
}

function smallMachine(devices: VfioRehearsal['practice'], incoming?: 'defer'): Promise<Vm> {
  const options = new MigrationOptions();
  options.setParameters({ 'max-bandwidth': 0 });
  const capabilities = ['events', ...(devices.length === 0 ? [] : ['return-path', 'switchover-ack'])];
  options.setCapabilities(
    capabilities.map((capability) => ({ capability, state: true })),
    IDLE_CONTEXT,
  );
  return Vm.create({
    machineType: 'harness',
    ramBytes: RAM_BYTES,
    startPaused: true,
    devices,
    options,
    log: silentLogger,
    ...(incoming === undefined ? {} : { incoming }),
  });
}

function finalStatus(vm: Vm): Promise<void> {
  return new Promise((resolve) => {
    vm.onEvent((event) => {
      if (event.name === 'MIGRATION' && FINAL.includes(event.data.status)) resolve();
    });
  });
}

function uriOf(vm: Vm): string {
  const [address] = vm.queryMigrate()['socket-address'] ?? [];
  assert(address?.type === 'inet', 'a machine that waits on TCP says on which port');
  return `tcp:${address.host}:${address.port}`;
}
