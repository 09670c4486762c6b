/**
 * One migration between two `switchover vm` processes, from their start to the comparison of their RAM, told in the
 * order it happens. Knows no terminal: what it sees goes to `onSample` and `onNote`.
 */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { guestRegion } from '../hw/guest/guest-options.ts';
import type { MigrationInfo } from '../migration/vm-control.ts';
import { runJobs } from '../threads/job-pool.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import { writeFill } from './fill.ts';
import { checkGuestsInFile, guestReady, guestWrites } from './guest-evidence.ts';
import type { MigrationPlan } from './migrate-plan.ts';
import { type ProgressSample, sampleOf } from './progress.ts';
import type { MigrationObservation } from './verdict.ts';
import { VmProcess } from './vm-process.ts';

/** Who is told what happens, what ends it early, and what time it is. */
export interface MigrationWatch {
  readonly onSample: (sample: ProgressSample) => void;
  readonly onNote: (text: string) => void;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

const POLL_MS = 50;
/** How long the guests run on the destination before they are judged; again and longer while RAM has not changed. */
const CONTINUE_MS = [300, 600, 1200, 2400] as const;

/** Runs the plan; throws `cli/migration` when the migration does not complete. */
export async function runMigration(plan: MigrationPlan, watch: MigrationWatch): Promise<MigrationObservation> {
  const directory = await mkdtemp(join(tmpdir(), 'switchover-'));
  try {
    return await new MigrationRun(plan, watch, directory).run();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

class MigrationRun {
  readonly #plan: MigrationPlan;
  readonly #watch: MigrationWatch;
  readonly #directory: string;
  readonly #clock: Clock;

  constructor(plan: MigrationPlan, watch: MigrationWatch, directory: string) {
    this.#plan = plan;
    this.#watch = watch;
    this.#directory = directory;
    this.#clock = watch.clock ?? systemClock;
  }

  async run(): Promise<MigrationObservation> {
    const loader = await this.#writeFill();
    const base = [
      '-M',
      this.#plan.machineType,
      '-m',
      `${this.#plan.ramBytes}B`,
      '-S',
      '-nodefaults',
      '-display',
      'none',
    ];
    for (const guest of this.#plan.guests) base.push('-object', guest.object);
    for (const device of this.#plan.devices) base.push('-device', device);
    const { dirtyRingPages } = this.#plan;
    if (dirtyRingPages !== undefined) base.push('-accel', `tcg,dirty-ring-size=${dirtyRingPages}`);
    await using source = await this.#start('source', [...base, ...loader]);
    await using destination = await this.#start('destination', [...base, '-incoming', 'defer']);
    await rm(join(this.#directory, 'fill'), { force: true });
    for (const machine of [source, destination]) await this.#configure(machine);

    await source.execute('cont');
    await this.#guestsReady(source);
    const uri = await this.#listen(destination);
    await Promise.all([source.rehearsed(), destination.rehearsed()]);
    this.#watch.onNote(`migrating ${formatSize(this.#plan.ramBytes)} of RAM to ${uri}`);
    await source.execute('migrate', { uri });
    const { info, expectedDowntimeMs } = await this.#watchUntilCompleted(source, destination);

    const digests = await this.#compare(source, destination);
    const after = await this.#continue(destination, digests.destinationSha256);
    return {
      info,
      ...digests,
      ...after,
      ...(expectedDowntimeMs === undefined ? {} : { expectedDowntimeMs }),
    };
  }

  async #writeFill(): Promise<string[]> {
    const { fill, ramBytes, seed } = this.#plan;
    if (fill === 'none') return [];
    const file = join(this.#directory, 'fill');
    await writeFill(file, { kind: fill, bytes: ramBytes, seed });
    return ['-device', `loader,file=${file.replaceAll(',', ',,')},addr=0,force-raw=on`];
  }

  #start(role: 'source' | 'destination', args: readonly string[]): Promise<VmProcess> {
    return VmProcess.start({ role, directory: this.#directory, args, clock: this.#clock });
  }

  async #configure(machine: VmProcess): Promise<void> {
    const { capabilities, parameters } = this.#plan;
    if (capabilities.length > 0) {
      const list = capabilities.map((capability) => ({ capability, state: true }));
      await machine.execute('migrate-set-capabilities', { capabilities: list });
    }
    if (Object.keys(parameters).length > 0) await machine.execute('migrate-set-parameters', parameters);
  }

  /** Opens the destination's listener; the kernel chooses the TCP port. */
  async #listen(destination: VmProcess): Promise<string> {
    if (this.#plan.transport === 'unix') {
      const uri = `unix:${join(this.#directory, 'migration')}`;
      await destination.execute('migrate-incoming', { uri });
      return uri;
    }
    await destination.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
    const address = (await queryMigrate(destination))['socket-address']?.[0];
    if (address?.type !== 'inet') {
      throw new HarnessError('cli/migration', { text: 'the destination does not tell where it listens' });
    }
    return `tcp:127.0.0.1:${address.port}`;
  }

  async #watchUntilCompleted(
    source: VmProcess,
    destination: VmProcess,
  ): Promise<{ info: MigrationInfo; expectedDowntimeMs: number | undefined }> {
    const startMs = this.#clock.nowMs();
    let expectedDowntimeMs: number | undefined;
    for (;;) {
      const info = await queryMigrate(source);
      const elapsedMs = this.#clock.nowMs() - startMs;
      this.#watch.onSample(sampleOf(info, elapsedMs));
      expectedDowntimeMs = info['expected-downtime'] ?? expectedDowntimeMs;
      if (info.status === 'completed') {
        await this.#settle(source, destination);
        return { info, expectedDowntimeMs };
      }
      if (info.status === 'failed' || info.status === 'cancelled') throw await this.#failure(info, destination);
      if (elapsedMs > this.#plan.timeoutMs) {
        await source.execute('migrate_cancel');
        throw timeout(info, elapsedMs);
      }
      await this.#clock.sleep(POLL_MS, this.#watch.signal);
    }
  }

  /** Completed on the source is not yet completed on the destination, which may still have bytes to read. */
  async #settle(source: VmProcess, destination: VmProcess): Promise<void> {
    const startMs = this.#clock.nowMs();
    for (;;) {
      const incoming = await queryMigrate(destination);
      if (incoming.status === 'completed' && (await runState(source)) === 'postmigrate') return;
      if (incoming.status === 'failed') throw await this.#failure({}, destination);
      if (this.#clock.nowMs() - startMs > this.#plan.timeoutMs) throw timeout(incoming, this.#plan.timeoutMs);
      await this.#clock.sleep(POLL_MS, this.#watch.signal);
    }
  }

  async #failure(info: MigrationInfo, destination: VmProcess): Promise<HarnessError> {
    const said = [`migration ${info.status ?? 'failed'}`];
    if (info['error-desc'] !== undefined) said.push(`source: ${info['error-desc']}`);
    // The cause is often the other side's; a destination that is gone says so itself.
    const incoming = await queryMigrate(destination).catch((error: unknown) => {
      said.push(error instanceof Error ? error.message : String(error));
    });
    if (incoming?.['error-desc'] !== undefined) said.push(`destination: ${incoming['error-desc']}`);
    return new HarnessError('cli/migration', { text: said.join('; ') });
  }

  /** A guest that is still setting its region up has no pattern yet that a migration could break. */
  async #guestsReady(source: VmProcess): Promise<void> {
    const { guests, ramBytes, timeoutMs } = this.#plan;
    const filename = join(this.#directory, 'page');
    const deadline = this.#clock.nowMs() + timeoutMs;
    for (const { options } of guests.filter((guest) => guestWrites(guest.options))) {
      const val = guestRegion(options, ramBytes).startByte;
      for (;;) {
        await source.execute('pmemsave', { val, size: PAGE_SIZE, filename });
        if (guestReady(options, await readFile(filename), ramBytes)) break;
        if (this.#clock.nowMs() > deadline) {
          throw new HarnessError('cli/migration', { text: `guest '${options.id}' does not get ready on the source` });
        }
        await this.#clock.sleep(POLL_MS, this.#watch.signal);
      }
    }
  }

  /** Writes the RAM of a machine that stands still to a file. */
  async #dump(machine: VmProcess): Promise<string> {
    const filename = join(this.#directory, `${machine.role}.ram`);
    await machine.execute('pmemsave', { val: 0, size: this.#plan.ramBytes, filename });
    return filename;
  }

  /** SHA-256 of both machines' RAM, dumped and hashed side by side. */
  async #compare(
    source: VmProcess,
    destination: VmProcess,
  ): Promise<{ sourceSha256: string; destinationSha256: string }> {
    this.#watch.onNote('comparing RAM on both sides');
    const files = await Promise.all([this.#dump(source), this.#dump(destination)]);
    const [sourceSha256 = '', destinationSha256 = ''] = await runJobs('hash', files);
    await Promise.all(files.map((file) => rm(file)));
    return { sourceSha256, destinationSha256 };
  }

  /** Lets the guests run on the destination for a moment, stops them and judges what they left. */
  async #continue(destination: VmProcess, before: string): Promise<Pick<MigrationObservation, 'guests' | 'continued'>> {
    const guests = this.#plan.guests.map((guest) => guest.options);
    if (guests.length === 0) return { guests: [] };
    const writes = guests.some(guestWrites);
    let file = '';
    let continued = false;
    for (const runMs of CONTINUE_MS) {
      await destination.execute('cont');
      await this.#clock.sleep(runMs, this.#watch.signal);
      await destination.execute('stop');
      file = await this.#dump(destination);
      const [after] = await runJobs('hash', [file]);
      continued = after !== before;
      if (continued || !writes) break;
    }
    return { guests: await checkGuestsInFile(guests, file), ...(writes ? { continued } : {}) };
  }
}

async function queryMigrate(machine: VmProcess): Promise<MigrationInfo> {
  // The reply of our own machine, whose shape vm-control.ts declares.
  return (await machine.execute('query-migrate')) as MigrationInfo;
}

async function runState(machine: VmProcess): Promise<unknown> {
  const reply = await machine.execute('query-status');
  return typeof reply === 'object' && reply !== null && 'status' in reply ? reply.status : undefined;
}

function timeout(info: MigrationInfo, elapsedMs: number): HarnessError<'cli/migration'> {
  const { remainingBytes, dirtyBytesPerSecond, bytesPerSecond } = sampleOf(info, elapsedMs);
  const text =
    `no end after ${(elapsedMs / 1000).toFixed(1)} s: ${formatSize(remainingBytes)} remaining, the guest dirties ` +
    `${formatSize(dirtyBytesPerSecond)}/s while ${formatSize(bytesPerSecond)}/s are sent. ` +
    'Raise --max-bandwidth, --downtime-limit or --timeout, or slow the guest down.';
  return new HarnessError('cli/migration', { text });
}
