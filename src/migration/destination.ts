/**
 * The destination of a migration: connect → setup → iterate → switchover → complete, the mirror of source.ts
 * (spec/control.md §4.3, §4.4). It knows the machine only through `DestinationMachine`.
 */

import type { Clock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { RamBlock } from '../hw/ram.ts';
import type { DestinationDevice } from './device-sections.ts';
import { connectionsOf, type IncomingPath, openIncomingPath } from './incoming-path.ts';
import { LedgerRecorder } from './ledger.ts';
import { StreamLoader } from './loadvm.ts';
import type { ChannelThreads } from './multifd/channel-threads.ts';
import type { MigrationOptions, MigrationOptionsSnapshot } from './options/options.ts';
import type { Phase } from './phases.ts';
import type { VmState } from './savevm.ts';
import type { StatusMachine } from './status.ts';
import type { Address } from './transport/address.ts';
import type { Channel } from './transport/channel.ts';
import type { ServerTls } from './transport/tls-channel.ts';
import { type Listener, openIncoming } from './transport/transport.ts';
import type { MigrationInfo } from './vm-control.ts';

/** The machine as its destination side sees it. */
export interface DestinationMachine {
  readonly machineName: string;
  readonly uuid: Uint8Array | undefined;
  readonly ramBlocks: readonly RamBlock[];
  /** Machine property `suppress-vmdesc`: no description is expected after EOF. */
  readonly suppressDescription: boolean;
  /** Throws what keeps a device from running. */
  devices(): Promise<readonly DestinationDevice[]>;
  /** Everything is loaded: adopts the clock and the run state, and starts the guest if it is to run (§4.4). */
  takeOver(state: VmState): Promise<void>;
}

/** One incoming migration, from `migrate-incoming` to its end. */
export class DestinationMigration {
  readonly #machine: DestinationMachine;
  readonly #address: Address;
  readonly #threads: ChannelThreads;
  readonly #status: StatusMachine;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #tls: () => ServerTls | undefined;
  readonly #options: () => MigrationOptionsSnapshot;
  readonly #ledger = new LedgerRecorder();
  #listener: Listener | undefined;
  #hasConnection = false;
  #channel: Channel | undefined;
  #path: IncomingPath | undefined;
  #loader: StreamLoader | undefined;
  #loading: Promise<unknown> | undefined;
  #error: Error | undefined;
  #phase: Phase = 'connect';
  #over = false;
  #abortedWhy: string | undefined;

  constructor(deps: {
    machine: DestinationMachine;
    address: Address;
    options: MigrationOptions;
    threads: ChannelThreads;
    status: StatusMachine;
    clock: Clock;
    log: Logger;
    /** TLS for every connection; throws what is wrong with it. */
    tls: () => ServerTls | undefined;
  }) {
    this.#machine = deps.machine;
    this.#address = deps.address;
    this.#threads = deps.threads;
    this.#status = deps.status;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#tls = deps.tls;
    this.#options = () => deps.options.snapshot();
  }

  /** Opens the listener. Rejects with what `openIncoming` rejects with; the status then stays `setup`, as in QEMU. */
  async connect(): Promise<void> {
    this.#status.move('setup');
    this.#listener = await openIncoming(this.#address, {
      connections: connectionsOf(this.#options()),
      serverTls: this.#tls,
      onRefused: (err) => this.#log.warn({ err }, 'a connection was refused'),
    });
    if (this.#abortedWhy === undefined) return;
    await this.#listener.close();
    throw new HarnessError('transport/listen', { uri: this.#address.uri, why: this.#abortedWhy });
  }

  /** Waits for the source and loads its stream. Resolves with the error of a failed migration, undefined on success. */
  async run(): Promise<Error | undefined> {
    try {
      await this.#setup();
      const state = await this.#iterate();
      await this.#switchover(state);
      await this.#complete();
      return undefined;
    } catch (error) {
      return this.#fail(error);
    } finally {
      this.#over = true;
      await this.#path?.close();
      await this.#listener?.close();
    }
  }

  /** True once `run` has ended. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Gives up: closes listener and channel; `run` ends with an error. */
  async abort(why: string): Promise<void> {
    this.#abortedWhy ??= why;
    this.#channel?.destroy(why);
    await this.#listener?.close();
    await this.#path?.close();
  }

  /** QMP `yank`: closes the connections that there are. A listener without any goes on waiting, as in QEMU. */
  async yank(why: string): Promise<void> {
    if (this.#hasConnection) await this.abort(why);
  }

  /** The destination's part of query-migrate. */
  info(): MigrationInfo {
    const status = this.#status.current;
    if (status === 'none') return {};
    const socketAddress = this.#over ? undefined : this.#listener?.socketAddress;
    return {
      status,
      ...(socketAddress === undefined ? {} : { 'socket-address': [socketAddress] }),
      ...(this.#error === undefined ? {} : { 'error-desc': this.#error.message }),
    };
  }

  // ── phases ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #setup(): Promise<void> {
    this.#enter('setup');
    if (this.#listener === undefined)
      throw new HarnessError('internal/assertion', { why: 'connect() comes before run()' });
    const options = this.#options();
    const listener = this.#listener;
    const accept = async () => {
      const channel = await listener.accept();
      this.#hasConnection = true;
      return channel;
    };
    const path = await openIncomingPath({
      listener: { socketAddress: listener.socketAddress, accept, close: () => listener.close() },
      uri: this.#address.uri,
      machine: this.#machine,
      options,
      threads: this.#threads,
      clock: this.#clock,
    });
    this.#path = path;
    this.#channel = path.channel;
    // `abort` may have come after the connection and before this line.
    if (this.#abortedWhy !== undefined) await this.abort(this.#abortedWhy);
    this.#status.move('active');
    this.#loader = new StreamLoader({
      reader: path.reader,
      channel: path.channel,
      channels: path.channels,
      expander: path.expander,
      mapped: path.mapped,
      machine: this.#machine,
      devices: path.devices,
      intake: path.intake,
      options,
      clock: this.#clock,
      ledger: this.#ledger,
      log: this.#log,
    });
    await this.#loader.setup();
    await this.#guarded(this.#loader.header());
  }

  async #iterate(): Promise<VmState> {
    this.#enter('iterate');
    return this.#guarded(this.#loader!.elements());
  }

  async #switchover(state: VmState): Promise<void> {
    this.#enter('switchover');
    if (!this.#machine.suppressDescription) await this.#loader!.description(this.#clock);
    const startMs = this.#clock.nowMs();
    await this.#machine.takeOver(state);
    this.#ledger.add('machine', 'start', startMs, this.#clock.nowMs());
  }

  async #complete(): Promise<void> {
    this.#enter('complete');
    await this.#loader!.sendLedger();
    await this.#loader!.sendFinalStatus(0);
    this.#status.move('completed');
    await this.#channel?.close();
  }

  async #fail(error: unknown): Promise<Error> {
    const reason = error instanceof Error ? error : new Error(String(error));
    this.#error = reason;
    // Nothing is lost that somebody wanted: the machine was told to go, or to give up.
    if (this.#abortedWhy !== undefined) this.#log.info({ why: this.#abortedWhy }, 'incoming migration ended');
    else this.#log.error({ err: reason, phase: this.#phase }, 'incoming migration failed');
    await this.#loader?.sendFinalStatus(1).catch(() => undefined); // the connection may be what failed
    await this.#loader?.cleanup();
    // An orderly close, so that the final status is not lost to a reset.
    await this.#channel?.close().catch(() => undefined);
    this.#channel?.destroy(reason.message);
    await this.#loading?.catch(() => undefined); // it may write into RAM until the channel is gone
    if (this.#status.current !== 'failed') this.#status.move('failed');
    return reason;
  }

  /** The loader's work, unless another channel fails first. */
  #guarded<T>(work: Promise<T>): Promise<T> {
    this.#loading = work;
    return this.#path!.guard(work);
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#log.info({ phase }, 'phase');
  }
}
