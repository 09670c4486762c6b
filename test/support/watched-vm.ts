/** A machine in this process whose events are written down in the notation of oracles/events.json: `M:active`, `PASS:1`, `STOP`. */

import type { Clock } from '../../src/base/clock.ts';
import { type Logger, silentLogger } from '../../src/base/log.ts';
import type { DeviceConfig } from '../../src/hw/device-thread.ts';
import { parseGuestOption } from '../../src/hw/guest/guest-options.ts';
import { ObjectRegistry } from '../../src/migration/objects/object-registry.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { Vm, type VmConfig } from '../../src/migration/vm.ts';
import type { VmEvent } from '../../src/migration/vm-control.ts';

/** How the machine is made; what is left out is as in `switchover vm -S`, without a guest. */
export interface WatchedVmOptions {
  readonly ramBytes?: number;
  readonly machineType?: 'none' | 'harness';
  /** A guest as after `-object`, for example `guest-sweep,id=g`. */
  readonly guest?: string;
  readonly devices?: readonly DeviceConfig[];
  readonly deviceDeadlineMs?: number;
  /** What devices may allocate for state that arrives (bytes). */
  readonly resourceBytes?: number;
  /** Default: the real one. */
  readonly clock?: Clock;
  /** Default: says nothing. */
  readonly log?: Logger;
  /** Without `-S`. */
  readonly running?: boolean;
  readonly onlyMigratable?: boolean;
  /** Waits here for a migration, with exit-on-error off. */
  readonly incoming?: string;
  readonly capabilities?: readonly string[];
  /** As after `-global migration.`. */
  readonly globals?: Readonly<Record<string, string>>;
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** RAM is in this file, as block `m`. */
  readonly ramFile?: {
    readonly path: string;
    readonly share: boolean;
    readonly offset?: bigint;
    readonly readonly?: boolean;
  };
  /** Arguments of object-add. */
  readonly objects?: readonly Readonly<Record<string, string>>[];
  /** Written over RAM from address 0 before anything runs. */
  readonly content?: Uint8Array;
}

/** See the header. */
export class WatchedVm implements AsyncDisposable {
  readonly vm: Vm;
  /** Everything that happened so far. */
  readonly events: string[] = [];
  readonly #waiting = new Set<(event: string) => void>();

  /** Starts the machine; the guest runs and `incoming` is listened on once it resolves. */
  static async start(options: WatchedVmOptions = {}): Promise<WatchedVm> {
    const { ramBytes = 1 << 20, machineType = 'none', guest, running = false, incoming, content, ramFile } = options;
    const migrationOptions = new MigrationOptions();
    const on = ['events', ...(options.capabilities ?? [])].map((capability) => ({ capability, state: true }));
    migrationOptions.setCapabilities(on, IDLE_CONTEXT);
    migrationOptions.setParameters(options.parameters ?? {});
    migrationOptions.setGlobals(Object.entries(options.globals ?? {}).map(([name, text]) => ({ name, text })));
    const objects = new ObjectRegistry();
    for (const object of options.objects ?? []) objects.add(object);
    if (ramFile !== undefined) {
      const { path, ...rest } = ramFile;
      objects.add({ 'qom-type': 'memory-backend-file', id: 'm', size: BigInt(ramBytes), 'mem-path': path, ...rest });
    }
    const config: VmConfig = {
      objects,
      ...(ramFile === undefined ? {} : { ramBlockName: 'm' }),
      machineType,
      ramBytes,
      startPaused: !running,
      onlyMigratable: options.onlyMigratable ?? false,
      guests: guest === undefined ? [] : [parseGuestOption(guest)],
      devices: options.devices ?? [],
      ...(options.resourceBytes === undefined ? {} : { resourceBytes: options.resourceBytes }),
      ...(options.deviceDeadlineMs === undefined ? {} : { deviceDeadlineMs: options.deviceDeadlineMs }),
      ...(options.clock === undefined ? {} : { clock: options.clock }),
      options: migrationOptions,
      log: options.log ?? silentLogger,
      ...(incoming === undefined ? {} : { incoming: 'defer' }),
    };
    // Content comes before the guest, which then starts as `cont` starts it.
    const vm = await Vm.create({ ...config, startPaused: config.startPaused || content !== undefined });
    if (content !== undefined) vm.ram.write(0, content);
    const watched = new WatchedVm(vm);
    if (content !== undefined && running) await vm.cont();
    if (incoming !== undefined) await vm.migrateIncoming({ uri: incoming, 'exit-on-error': false });
    return watched;
  }

  private constructor(vm: Vm) {
    this.vm = vm;
    vm.onEvent((event) => this.#record(nameOf(event)));
  }

  /** Resolves at once with the first of `names` in what happened since `mark`, or when it happens. */
  event(names: readonly string[], mark = 0): Promise<string> {
    const past = this.events.slice(mark).find((event) => names.includes(event));
    if (past !== undefined) return Promise.resolve(past);
    return new Promise((resolve) => {
      const listener = (event: string) => {
        if (!names.includes(event)) return;
        this.#waiting.delete(listener);
        resolve(event);
      };
      this.#waiting.add(listener);
    });
  }

  /** Calls `action` synchronously when `name` happens for the first time from now on. */
  once(name: string, action: () => void): void {
    const listener = (event: string) => {
      if (event !== name) return;
      this.#waiting.delete(listener);
      action();
    };
    this.#waiting.add(listener);
  }

  /** Resolves with the final status of the migration begun after `mark`. */
  async ended(mark = 0): Promise<string> {
    const event = await this.event(['M:completed', 'M:failed', 'M:cancelled'], mark);
    return event.slice('M:'.length);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.vm[Symbol.asyncDispose]();
  }

  #record(event: string): void {
    this.events.push(event);
    for (const listener of [...this.#waiting]) listener(event);
  }
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets the event loop turn until `condition` holds; the test's own time limit is the deadline. */
export async function turnUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

function nameOf(event: VmEvent): string {
  switch (event.name) {
    case 'MIGRATION':
      return `M:${event.data.status}`;
    case 'MIGRATION_PASS':
      return `PASS:${event.data.pass}`;
    default:
      return event.name;
  }
}
