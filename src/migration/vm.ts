/**
 * A virtual machine as its control plane drives it: machine, run state, events, and both directions of migration
 * (spec/control.md §4, §5.2–5.4, §8.3–8.5). The texts of refusals are QEMU's where clients match on them.
 */

import { type Clock, systemClock } from '../base/clock.ts';
import { HarnessError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { DeviceConfig, DeviceThread } from '../hw/device-thread.ts';
import type { GuestOptions } from '../hw/guest/guest-options.ts';
import { Machine, type RamLoaderOption } from '../hw/machine.ts';
import type { RamBlock } from '../hw/ram.ts';
import { isLive, type RunState } from '../hw/run-state.ts';
import { native } from '../threads/native.ts';
import { type Blocker, toleratedBlockers } from './blockers.ts';
import { DestinationMigration } from './destination.ts';
import { refuseMigrate, refuseSecondMigration, warnOfClamps } from './migrate-checks.ts';
import { migrationThreads } from './migration-threads.ts';
import { ChannelThreads } from './multifd/channel-threads.ts';
import { ObjectRegistry } from './objects/object-registry.ts';
import { type CapabilityContext, IDLE_CONTEXT } from './options/capabilities.ts';
import type { MigrationOptions } from './options/options.ts';
import type { VmState } from './savevm.ts';
import { SourceMigration } from './source.ts';
import { isRunning, type MigrationStatus, StatusMachine } from './status.ts';
import { clientTls, serverTls } from './tls.ts';
import { type Address, addressOf, incomingAddressOf } from './transport/address.ts';
import { refuseTls, refuseTransport } from './transport/transport.ts';
import type { IncomingArguments, MigrateArguments, MigrationInfo, VmControl, VmEvent } from './vm-control.ts';
import { destinationDevice, sourceDevice, vfioMigration } from './vm-devices.ts';
import { type VmServices, vmServices } from './vm-services.ts';

/** How a virtual machine is made. */
export interface VmConfig {
  readonly machineType: 'none' | 'harness';
  readonly ramBytes: number;
  /** Default `ram`, as QEMU's `-M none` calls it. */
  readonly ramBlockName?: string;
  readonly name?: string;
  /** Textual UUID. */
  readonly uuid?: string;
  /** Machine property `suppress-vmdesc`: streams end at EOF, without a description. */
  readonly suppressDescription?: boolean;
  /** `-S`: do not start the guest by itself. */
  readonly startPaused: boolean;
  /** A URI, or `defer` to wait for migrate-incoming. */
  readonly incoming?: string;
  readonly guests?: readonly GuestOptions[];
  readonly loaders?: readonly RamLoaderOption[];
  /** Devices in the order of the command line; both sides of a migration have the same. */
  readonly devices?: readonly DeviceConfig[];
  /** `-accel NAME,dirty-ring-size=N`: page writes that fill a vCPU's ring; without it vCPUs cannot be limited. */
  readonly dirtyRingPages?: number;
  /** What devices may allocate for state that arrives (bytes, default 16 GiB). */
  readonly resourceBytes?: number;
  /** Longest time a device may take to answer (ms, default 10 000). */
  readonly deviceDeadlineMs?: number;
  readonly options: MigrationOptions;
  /** `-only-migratable`: a machine that cannot migrate does not start. */
  readonly onlyMigratable?: boolean;
  /** What `-object` made; the machine's RAM becomes one of them. */
  readonly objects?: ObjectRegistry;
  readonly log: Logger;
  readonly clock?: Clock;
}

const NO_UUID = '00000000-0000-0000-0000-000000000000';

function refuse(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}

/** One virtual machine. Dispose it to give back its threads and ports. */
export class Vm implements VmControl {
  readonly name: string | undefined;
  readonly uuid: string;
  readonly machineType: string;
  readonly exited: Promise<number>;
  readonly objects: ObjectRegistry;
  readonly globals: VmControl['globals'];
  readonly vcpuLimits: VmServices['vcpuLimits'];
  readonly dirtyRate: VmServices['dirtyRate'];
  readonly announcer: VmServices['announcer'];
  readonly #services: VmServices;
  readonly #machine: Machine;
  readonly #options: MigrationOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #uuidBytes: Uint8Array | undefined;
  readonly #suppressDescription: boolean;
  readonly #listeners = new Set<(event: VmEvent) => void>();
  readonly #exit = Promise.withResolvers<number>();
  readonly #channelThreads: ChannelThreads;
  readonly #outgoingStatus = new StatusMachine('source');
  readonly #incomingStatus = new StatusMachine('destination');
  #blockers: readonly Blocker[] = [];
  #runState: RunState;
  #autostart: boolean;
  #stateBeforeSwitchover: RunState | undefined;
  #outgoing: SourceMigration | undefined;
  #outgoingWork: Promise<void> | undefined;
  #incoming: DestinationMigration | undefined;
  #incomingLoad: Promise<Error | undefined> | undefined;
  #incomingWork: Promise<void> | undefined;
  #incomingAddress: Address | undefined;
  #ending: Promise<void> | undefined;

  /** Builds the machine and, without `-S` and `-incoming`, starts the guest. Throws what Machine and the URI parser throw. */
  static async create(config: VmConfig): Promise<Vm> {
    const vm = new Vm(config);
    try {
      vm.#blockers = toleratedBlockers((await vm.#machine.devices()).map(sourceDevice), config);
      if (config.incoming === undefined) {
        if (!config.startPaused) await vm.#start('running');
      } else if (config.incoming !== 'defer') {
        await vm.migrateIncoming({ uri: config.incoming });
      }
    } catch (error) {
      await vm[Symbol.asyncDispose]();
      throw error;
    }
    return vm;
  }

  private constructor(config: VmConfig) {
    this.name = config.name;
    this.uuid = config.uuid ?? NO_UUID;
    this.#uuidBytes =
      config.uuid === undefined ? undefined : new Uint8Array(Buffer.from(config.uuid.replaceAll('-', ''), 'hex'));
    this.machineType = config.machineType;
    this.exited = this.#exit.promise;
    this.#options = config.options;
    this.globals = { ...this.#options.snapshot().properties, 'only-migratable': config.onlyMigratable ?? false };
    this.objects = config.objects ?? new ObjectRegistry();
    this.objects.useAsRam(config.ramBlockName ?? 'ram', config.ramBytes);
    this.#log = config.log;
    this.#clock = config.clock ?? systemClock;
    this.#autostart = !config.startPaused;
    this.#suppressDescription = config.suppressDescription ?? false;
    this.#runState = config.incoming === undefined ? 'prelaunch' : 'inmigrate';
    this.#machine = new Machine({
      ramBlockName: config.ramBlockName ?? 'ram',
      ramBytes: config.ramBytes,
      ramFile: this.objects.find(config.ramBlockName ?? 'ram', 'memory-backend-file')?.file,
      guests: config.guests ?? [],
      loaders: config.loaders ?? [],
      devices: config.devices ?? [],
      log: this.#log,
      ...(config.resourceBytes === undefined ? {} : { resourceBytes: config.resourceBytes }),
      ...(config.deviceDeadlineMs === undefined ? {} : { deviceDeadlineMs: config.deviceDeadlineMs }),
      onVcpuFailure: (error) => void this.#vcpuFailed(error),
      onVfioState: (id, state) => this.#emit(vfioMigration(id, state)),
    });
    this.#channelThreads = new ChannelThreads([this.#machine.ram.share]);
    this.#services = vmServices({
      machine: this.#machine,
      options: this.#options,
      ringPages: config.dirtyRingPages,
      isMigrating: () => isRunning(this.#outgoingStatus.current),
      clock: this.#clock,
      log: this.#log,
    });
    ({ vcpuLimits: this.vcpuLimits, dirtyRate: this.dirtyRate, announcer: this.announcer } = this.#services);
    for (const status of [this.#outgoingStatus, this.#incomingStatus]) {
      status.onMove((to) => {
        this.#log.info({ side: status.side, status: to }, 'migration status');
        if (this.#options.isOn('events')) this.#emit({ name: 'MIGRATION', data: { status: to } });
      });
    }
  }

  get ramBytes(): number {
    return this.#machine.ram.length;
  }

  vcpuThreadIds(): Promise<readonly number[]> {
    return this.#machine.vcpuThreadIds();
  }

  /** The machine's RAM. */
  get ram(): RamBlock {
    return this.#machine.ram;
  }

  onEvent(listener: (event: VmEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A device by its id, for register accesses. Throws `device/unknown`. */
  device(id: string): Promise<DeviceThread> {
    return this.#machine.device(id);
  }

  /** Spends a thread on faster migrations (Machine.scoutRam). Throws what keeps it from starting. */
  scoutRam(): Promise<void> {
    return this.#machine.scoutRam();
  }

  /** Whether each guest left its RAM as it must; the guest must be stopped. */
  checkGuests(): readonly { readonly id: string; readonly ok: boolean; readonly detail: string }[] {
    return this.#machine.checkGuests();
  }

  readPhysical(address: number, length: number): Uint8Array {
    return this.#machine.readPhysical(address, length);
  }

  // ── run state ──────────────────────────────────────────────────────────────────────────────────────────────────

  queryStatus(): { readonly status: RunState; readonly running: boolean } {
    return { status: this.#runState, running: this.#runState === 'running' };
  }

  async stop(): Promise<void> {
    if (this.#runState === 'inmigrate') this.#autostart = false;
    if (!isLive(this.#runState)) return;
    await this.#stopMachine();
    if (!isLive(this.#runState)) return; // a switchover came in between: it stopped the guest
    this.#runState = 'paused';
    this.#emit({ name: 'STOP' });
  }

  async cont(): Promise<void> {
    switch (this.#runState) {
      case 'finish-migrate':
        throw refuse('Migration is not finalized yet');
      case 'internal-error':
      case 'shutdown':
        throw refuse('Resetting the Virtual Machine is required');
      case 'inmigrate':
        this.#autostart = true;
        return;
      case 'running':
      case 'suspended':
        return;
      default:
        await this.#start('running');
    }
  }

  async reset(): Promise<void> {
    await this.#machine.reset();
    if (this.#runState === 'paused' || this.#runState === 'postmigrate') this.#runState = 'prelaunch';
    this.#emit({ name: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } });
  }

  async quit(reason: 'host-qmp-quit' | 'host-signal'): Promise<void> {
    this.#emit({ name: 'SHUTDOWN', data: { guest: false, reason } });
    await this[Symbol.asyncDispose]();
  }

  async #start(state: 'running' | 'suspended'): Promise<void> {
    if (state === 'running') await this.#machine.start();
    this.#runState = state;
    this.#emit({ name: 'RESUME' });
  }

  /** Stops vCPUs and devices; when one of them fails to stop, the machine runs on. */
  async #stopMachine(): Promise<void> {
    try {
      await this.#machine.stop();
    } catch (error) {
      if (isLive(this.#runState)) await this.#goOn();
      throw error;
    }
  }

  async #goOn(): Promise<void> {
    const failed = await this.#machine.goOn();
    if (failed !== undefined) this.#log.error({ err: failed }, 'the guest goes on without a device');
  }

  async #vcpuFailed(error: Error): Promise<void> {
    this.#log.error({ err: error }, 'a vCPU failed');
    if (this.#runState !== 'running') return;
    this.#runState = 'internal-error';
    this.#emit({ name: 'STOP' });
  }

  #emit(event: VmEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  // ── migration ──────────────────────────────────────────────────────────────────────────────────────────────────

  async migrate(args: MigrateArguments): Promise<void> {
    const address = addressOf(args);
    refuseMigrate(address, args.resume === true, {
      options: this.#options,
      status: this.#outgoingStatus.current,
      runState: this.#runState,
      blocker: this.#blockers[0],
    });
    await this.#outgoingWork; // the last one's clean-up; its status is final already
    refuseSecondMigration(this.#outgoingStatus.current); // another client may have waited as well
    warnOfClamps(this.#options.snapshot(), this.#log);
    const outgoing = new SourceMigration({
      machine: this.#sourceMachine(),
      address,
      options: this.#options,
      threads: this.#channelThreads,
      status: this.#outgoingStatus,
      clock: this.#clock,
      log: this.#log.child({ side: 'source' }),
      tls: () => clientTls(this.#options.tlsParameters(), this.objects, address),
      onPass: (pass) => {
        if (this.#options.isOn('events')) this.#emit({ name: 'MIGRATION_PASS', data: { pass } });
      },
    });
    this.#outgoing = outgoing;
    const connecting = outgoing.connect();
    this.#outgoingWork = connecting.then(
      () => outgoing.run(),
      () => undefined, // the status is `failed` or `cancelled` and query-migrate has the reason
    );
    // What cannot be opened is the reply's error; a socket that does not connect only shows in the status.
    if (address.kind !== 'tcp' && address.kind !== 'unix') await connecting;
  }

  /** With multifd on, threads are likely to be needed soon; a mapped-ram file has handles instead. */
  #prepareChannels(): void {
    const hasThreads = this.#options.isOn('multifd') && !this.#options.isOn('mapped-ram');
    if (!hasThreads || native === undefined) return;
    const end = this.#runState === 'inmigrate' ? 'multifd-receive' : 'multifd-send';
    this.#channelThreads.prepare(end, this.#options.snapshot().multifd.channels);
  }

  async migrateIncoming(args: IncomingArguments): Promise<void> {
    if (this.#incoming !== undefined) throw refuse('The incoming migration has already been started');
    if (this.#runState !== 'inmigrate') throw refuse("'-incoming' was not specified on the command line");
    const address = incomingAddressOf(args);
    refuseTransport(address, this.#options);
    refuseTls(address, this.#options);
    this.#prepareChannels();
    const incoming = new DestinationMigration({
      machine: this.#destinationMachine(),
      address,
      options: this.#options,
      threads: this.#channelThreads,
      status: this.#incomingStatus,
      clock: this.#clock,
      log: this.#log.child({ side: 'destination' }),
      tls: () => serverTls(this.#options.tlsParameters(), this.objects),
    });
    this.#incoming = incoming;
    try {
      await incoming.connect();
    } catch (error) {
      // Unlike QEMU, which stays in `setup` for good, another try is possible (docs/differences.md).
      this.#incoming = undefined;
      this.#incomingStatus.move('none');
      throw error;
    }
    this.#incomingAddress = address;
    const exitOnError = args['exit-on-error'] ?? true;
    this.#incomingLoad = incoming.run();
    this.#incomingWork = this.#incomingLoad.then(async (error) => {
      this.#incomingAddress = undefined;
      if (error === undefined || this.#ending !== undefined || !exitOnError) return;
      process.stderr.write(`switchover: load of migration failed: ${messageOf(error)}\n`);
      await this.#end(1);
    });
  }

  async migrateCancel(): Promise<void> {
    this.#outgoing?.cancel();
  }

  async migrateContinue(state: MigrationStatus): Promise<void> {
    const { current } = this.#outgoingStatus;
    if (state !== current) throw refuse(`Migration not in expected state: ${current}`);
    this.#outgoing?.proceed();
  }

  canYank(): boolean {
    return isRunning(this.#outgoingStatus.current) || this.#incoming?.isOver === false;
  }

  yank(): void {
    const why = 'it was yanked';
    this.#outgoing?.yank(why);
    this.#incoming?.yank(why).catch((error: unknown) => this.#log.warn({ err: error }, 'closing a listener failed'));
  }

  queryMigrationThreads(): ReturnType<VmControl['queryMigrationThreads']> {
    return migrationThreads(this.#outgoingStatus.current, this.#channelThreads);
  }

  queryMigrate(): MigrationInfo {
    const incoming = this.#incoming?.info() ?? {};
    const reasons = this.#blockers.map(({ reason }) => reason);
    const blocked = reasons.length === 0 ? {} : { 'blocked-reasons': reasons };
    return { ...incoming, ...this.#outgoing?.info(), ...blocked };
  }

  queryCapabilities(): { readonly capability: string; readonly state: boolean }[] {
    return this.#options.queryCapabilities();
  }

  setCapabilities(list: readonly { readonly capability: string; readonly state: boolean }[]): void {
    this.#options.setCapabilities(list, this.#capabilityContext());
    this.#prepareChannels();
  }

  queryParameters(): Readonly<Record<string, string | number | bigint | boolean | object>> {
    return this.#options.queryParameters();
  }

  setParameters(values: Readonly<Record<string, unknown>>): void {
    this.#options.setParameters(values);
    this.#prepareChannels();
  }

  #capabilityContext(): CapabilityContext {
    const kind = this.#incomingAddress?.kind;
    return {
      ...IDLE_CONTEXT,
      kvmDirtyRing: this.vcpuLimits.hasRing,
      outgoingStatus: this.#outgoingStatus.current,
      runState: this.#runState,
      incomingStarted: kind === 'tcp' || kind === 'unix',
    };
  }

  #sourceMachine() {
    const machine = this.#machine;
    return {
      machineName: this.machineType,
      uuid: this.#uuidBytes,
      suppressDescription: this.#suppressDescription,
      ramBlocks: [machine.ram],
      devices: async () => (await machine.devices()).map(sourceDevice),
      isRunning: () => this.#runState === 'running',
      throttle: (percent: number) => machine.throttle(percent),
      vcpuLimits: this.vcpuLimits,
      stopForSwitchover: async (): Promise<VmState> => {
        await this.#stopMachine();
        const before = this.#runState;
        this.#stateBeforeSwitchover = before;
        this.#runState = 'finish-migrate';
        if (isLive(before)) this.#emit({ name: 'STOP' });
        const clock = machine.virtualNs;
        return { cpuTicksOffset: clock, cpuClockOffset: clock, runState: before, wasSuspended: before === 'suspended' };
      },
      undoSwitchover: async (): Promise<void> => {
        const before = this.#stateBeforeSwitchover;
        this.#stateBeforeSwitchover = undefined;
        if (before === undefined || this.#runState !== 'finish-migrate' || this.#ending !== undefined) return;
        if (before === 'running') await this.#goOn();
        this.#runState = before;
        if (isLive(before)) this.#emit({ name: 'RESUME' });
      },
      handedOver: () => {
        this.#stateBeforeSwitchover = undefined;
        this.#runState = 'postmigrate';
      },
    };
  }

  #destinationMachine() {
    return {
      machineName: this.machineType,
      uuid: this.#uuidBytes,
      suppressDescription: this.#suppressDescription,
      ramBlocks: [this.#machine.ram],
      devices: async () => (await this.#machine.devices()).map(destinationDevice),
      takeOver: async (state: VmState): Promise<void> => {
        this.announcer.announce(this.#options.announceParameters());
        this.#machine.setVirtualNs(state.cpuClockOffset);
        if (!isLive(state.runState)) this.#runState = state.runState;
        else if (!this.#autostart) this.#runState = 'paused';
        else await this.#start(state.wasSuspended || state.runState === 'suspended' ? 'suspended' : 'running');
      },
    };
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────

  #end(code: number): Promise<void> {
    this.#ending ??= this.#giveBack().finally(() => this.#exit.resolve(code));
    return this.#ending;
  }

  async #giveBack(): Promise<void> {
    this.#outgoing?.cancel();
    await this.#incoming?.abort('the machine is going away');
    await this.#outgoingWork;
    await this.#incomingLoad; // what it reads goes into RAM until it has ended
    this.#services[Symbol.dispose]();
    await this.#channelThreads[Symbol.asyncDispose]();
    await this.#machine[Symbol.asyncDispose]();
  }

  /** Cancels migrations, ends threads, closes ports; `exited` resolves with 0 unless an incoming migration failed first. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end(0);
    await this.#incomingWork;
  }
}
