/**
 * A machine at the declared interface `VmControl` that only writes down what it was told, with real migration options
 * and QEMU's simplest run-state rules. For tests of the control plane, which knows a machine by that interface alone.
 */

import { ManualClock } from '../../src/base/clock.ts';
import { HarnessError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { RunState } from '../../src/hw/run-state.ts';
import { DirtyRateMeter } from '../../src/migration/dirty-rate.ts';
import { ObjectRegistry } from '../../src/migration/objects/object-registry.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { INITIAL_PROPERTIES } from '../../src/migration/options/properties.ts';
import { SelfAnnouncer } from '../../src/migration/self-announce.ts';
import type { MigrationStatus } from '../../src/migration/status.ts';
import { VcpuLimits } from '../../src/migration/vcpu-limits.ts';
import type {
  IncomingArguments,
  MigrateArguments,
  MigrationGlobals,
  MigrationInfo,
  MigrationThread,
  VmControl,
  VmEvent,
} from '../../src/migration/vm-control.ts';

/** One call of a method that changes something. */
export type RecordedCall = readonly [method: string, ...args: unknown[]];

/** See the header. */
export class RecordingVm implements VmControl {
  readonly name: string | undefined = undefined;
  readonly uuid = '00000000-0000-0000-0000-000000000000';
  readonly machineType = 'none';
  readonly ramBytes: number;
  readonly objects = new ObjectRegistry();
  globals: MigrationGlobals = { ...INITIAL_PROPERTIES, 'only-migratable': false };
  readonly vcpuLimits = new VcpuLimits({
    vcpus: { count: 0, isRunning: () => false, limit: () => undefined, work: () => [] },
    ringPages: undefined,
    clock: new ManualClock(),
    migrationPeriodMs: () => 1000,
  });
  readonly dirtyRate = new DirtyRateMeter({
    machine: { ramBlocks: [], pagesWritten: () => [], hasRing: false, isMigrating: () => false },
    clock: new ManualClock(),
    epochSeconds: () => 0,
    log: silentLogger,
  });
  readonly announcer = new SelfAnnouncer({ clock: new ManualClock(), log: silentLogger });
  readonly calls: RecordedCall[] = [];
  /** Whether a migration has something that yank can close. */
  yankable = false;
  /** What query-migrate says. */
  migrationInfo: MigrationInfo = {};
  readonly exited: Promise<number>;
  readonly #exit = Promise.withResolvers<number>();
  readonly #options = new MigrationOptions({ warn: () => {} });
  readonly #listeners = new Set<(event: VmEvent) => void>();
  readonly #held = new Map<string, Promise<void>>();
  #state: RunState = 'running';

  constructor(options: { readonly ramBytes?: number } = {}) {
    this.ramBytes = options.ramBytes ?? 0;
    this.exited = this.#exit.promise;
  }

  /** Number of listeners for events, to see that none is left behind. */
  get listenerCount(): number {
    return this.#listeners.size;
  }

  /** Makes calls of a method wait until the returned function is called. */
  hold(method: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.set(method, promise);
    return resolve;
  }

  /** Tells every listener. */
  emit(event: VmEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  onEvent(listener: (event: VmEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  queryStatus(): { readonly status: RunState; readonly running: boolean } {
    return { status: this.#state, running: this.#state === 'running' };
  }

  async stop(): Promise<void> {
    await this.#record('stop');
    if (this.#state !== 'running') return;
    this.#state = 'paused';
    this.emit({ name: 'STOP' });
  }

  async cont(): Promise<void> {
    await this.#record('cont');
    if (this.#state === 'running') return;
    this.#state = 'running';
    this.emit({ name: 'RESUME' });
  }

  async reset(): Promise<void> {
    await this.#record('reset');
    if (this.#state === 'paused') this.#state = 'prelaunch';
    this.emit({ name: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } });
  }

  async quit(reason: 'host-qmp-quit' | 'host-signal'): Promise<void> {
    await this.#record('quit', reason);
    this.emit({ name: 'SHUTDOWN', data: { guest: false, reason } });
    this.#exit.resolve(0);
  }

  /** RAM whose every byte is the low byte of its address. */
  readPhysical(address: number, length: number): Uint8Array {
    if (address + length > this.ramBytes) throw new RangeError(`${address}+${length} is outside RAM`);
    return Uint8Array.from({ length }, (_, index) => address + index);
  }

  async migrate(args: MigrateArguments): Promise<void> {
    await this.#record('migrate', args);
    this.#refuseAddress(args);
    if (args.resume === true) generic('Cannot resume if there is no paused migration');
  }

  async migrateIncoming(args: IncomingArguments): Promise<void> {
    await this.#record('migrateIncoming', args);
    generic("'-incoming' was not specified on the command line");
  }

  async migrateCancel(): Promise<void> {
    await this.#record('migrateCancel');
  }

  async migrateContinue(state: MigrationStatus): Promise<void> {
    await this.#record('migrateContinue', state);
    const current = this.migrationInfo.status ?? 'none';
    if (state !== current) generic(`Migration not in expected state: ${current}`);
  }

  canYank(): boolean {
    return this.yankable;
  }

  yank(): void {
    this.calls.push(['yank']);
    this.yankable = false;
  }

  async vcpuThreadIds(): Promise<readonly number[]> {
    return [];
  }

  queryMigrationThreads(): readonly MigrationThread[] {
    return [];
  }

  queryMigrate(): MigrationInfo {
    return this.migrationInfo;
  }

  queryCapabilities(): { readonly capability: string; readonly state: boolean }[] {
    return this.#options.queryCapabilities();
  }

  setCapabilities(list: readonly { readonly capability: string; readonly state: boolean }[]): void {
    this.calls.push(['setCapabilities', list]);
    this.#options.setCapabilities(list, IDLE_CONTEXT);
  }

  queryParameters(): Readonly<Record<string, string | number | bigint | boolean | object>> {
    return this.#options.queryParameters();
  }

  setParameters(values: Readonly<Record<string, unknown>>): void {
    this.calls.push(['setParameters', values]);
    this.#options.setParameters(values);
  }

  async #record(method: string, ...args: unknown[]): Promise<void> {
    this.calls.push([method, ...args]);
    await this.#held.get(method);
  }

  #refuseAddress({ uri, channels }: MigrateArguments): void {
    if ((uri === undefined) === (channels === undefined)) generic("need either 'uri' or 'channels' argument");
    if ((channels?.length ?? 0) > 1) generic('Channel list has more than one main entry');
    if (uri !== undefined && !/^(tcp|unix|exec|file):/.test(uri)) generic(`unknown migration protocol: ${uri}`);
  }
}

function generic(text: string): never {
  throw new HarnessError('qmp/generic', { text });
}
