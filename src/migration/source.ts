/**
 * The source of a migration: connect → setup → iterate → switchover → complete, the mirror of destination.ts
 * (spec/wire.md §1.4, spec/control.md §4.1, §7). It knows the machine only through `SourceMachine`.
 */

import { Breather } from '../base/breather.ts';
import type { Clock } from '../base/clock.ts';
import { HarnessError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { PROBE_PING } from '../wire/extension.ts';
import { PAGE_SIZE, RAM_VERSION } from '../wire/ram.ts';
import type { DirtyPeriod } from './auto-converge.ts';
import { GuestThrottle } from './guest-throttle.ts';
import { IdleWait } from './idle-wait.ts';
import { type Ledger, LedgerRecorder } from './ledger.ts';
import type { ChannelThreads } from './multifd/channel-threads.ts';
import type { MigrationOptions, MigrationOptionsSnapshot } from './options/options.ts';
import { PeerKnowledge } from './peer-extension.ts';
import type { Phase } from './phases.ts';
import { EOS_BYTES, type PagesAllowed, type RamPart, type RamSender } from './ram/ram-sender.ts';
import { openRamPath, type RamPath, type RamPathCounters } from './ram-path.ts';
import { describe, StreamFraming, type VmState } from './savevm.ts';
import { SectionSaver } from './section-saver.ts';
import { sourceInfo } from './source-info.ts';
import { configurationOf, type SourceMachine } from './source-machine.ts';
import { SourceReturnPath } from './source-return-path.ts';
import { SourceStats } from './stats.ts';
import { isRunning, type StatusMachine } from './status.ts';
import { SwitchoverJudge } from './switchover-judge.ts';
import type { Address } from './transport/address.ts';
import type { Channel } from './transport/channel.ts';
import type { ClientTls } from './transport/tls-channel.ts';
import { openOutgoing } from './transport/transport.ts';
import { DmaTracking } from './vfio/dma-tracking.ts';
import { SourceAck } from './vfio/switchover-ack.ts';
import type { MigrationInfo } from './vm-control.ts';

const RAM_SECTION_ID = 1;
/** How long one part of the RAM section may go on (ms). */
const PART_MS = 50;

/** One outgoing migration, from `migrate` to its end. */
export class SourceMigration {
  readonly #machine: SourceMachine;
  readonly #address: Address;
  readonly #threads: ChannelThreads;
  readonly #status: StatusMachine;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: MigrationOptionsSnapshot;
  readonly #framing: StreamFraming;
  readonly #onPass: (pass: number) => void;
  readonly #openTls: () => ClientTls | undefined;
  #tls: ClientTls | undefined;
  readonly #abort = new AbortController();
  readonly #stats: SourceStats;
  readonly #throttle: GuestThrottle;
  #channel: Channel | undefined;
  #ram: RamSender | undefined;
  #ramPath: RamPath | undefined;
  #sections: SectionSaver | undefined;
  #dma: DmaTracking | undefined;
  #judge: SwitchoverJudge | undefined;
  readonly #ledger = new LedgerRecorder();
  #downtimeAccount: Ledger | undefined;
  /** When each device's ack came, since the start of the migration. */
  readonly #ackMs = new Map<string, number>();
  readonly #peer: PeerKnowledge;
  readonly #ack: SourceAck;
  readonly #idle: IdleWait;
  #returnPath: SourceReturnPath | undefined;
  #permit: PromiseWithResolvers<void> | undefined;
  #stopped = false;
  /** Of a guest that was stopped before the setup. */
  #stoppedState: VmState | undefined;
  /** When the guest stood still. */
  #stoppedMs = 0;
  #error: Error | undefined;
  #phase: Phase = 'connect';

  /** Takes the options as they are now; `connect` and then `run` do the rest. */
  constructor(deps: {
    machine: SourceMachine;
    address: Address;
    options: MigrationOptions;
    threads: ChannelThreads;
    status: StatusMachine;
    clock: Clock;
    log: Logger;
    /** TLS for every channel; throws what is wrong with it. */
    tls: () => ClientTls | undefined;
    onPass: (pass: number) => void;
  }) {
    this.#machine = deps.machine;
    this.#address = deps.address;
    this.#threads = deps.threads;
    this.#status = deps.status;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#onPass = deps.onPass;
    this.#openTls = deps.tls;
    this.#options = deps.options.snapshot();
    this.#throttle = new GuestThrottle({
      capabilities: this.#options.capabilities,
      options: deps.options,
      machine: deps.machine,
      log: deps.log,
    });
    this.#peer = new PeerKnowledge(deps.clock, (destination) => this.#ack.compare(destination));
    this.#ack = new SourceAck({
      mode: this.#options.properties['switchover-ack-legacy'] ? 'legacy' : 'reusable',
      isOn: this.#options.capabilities['switchover-ack'],
    });
    this.#idle = new IdleWait({
      ack: this.#ack,
      clock: deps.clock,
      signal: this.#abort.signal,
      ackLimitMs: this.#options.properties['x-switchover-ack-timeout'],
    });
    this.#framing = new StreamFraming({ sectionFooters: this.#options.properties['send-section-footer'] });
    this.#stats = new SourceStats({
      clock: deps.clock,
      parameters: () => deps.options.liveParameters(),
      bytes: () => this.#bytesWritten,
      channels: () => this.#otherChannels(),
      periodEnds: () => this.#ramPath?.periodEnds(),
    });
  }

  /**
   * Enters `setup`, which the status must allow, and opens the channel. On failure the status is `failed` or
   * `cancelled` and the error is thrown.
   */
  async connect(): Promise<void> {
    this.#status.move('setup');
    try {
      this.#tls = this.#openTls();
      this.#channel = await openOutgoing(this.#address, this.#abort.signal, this.#tls);
      if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
    } catch (error) {
      await this.#fail(error);
      throw error;
    }
  }

  /** Runs the connected migration to its end. Never rejects: how it ended is the status, and `info()` has the error. */
  async run(): Promise<void> {
    const startMs = this.#clock.nowMs();
    try {
      // For a restart nothing is gained by a guest that runs on.
      if (this.#options.mode === 'cpr-reboot') this.#stoppedState = await this.#stopGuest();
      await this.#setup(startMs);
      await this.#iterate();
      const state = await this.#switchover();
      await this.#complete(state);
    } catch (error) {
      await this.#fail(await this.#whatWentWrong(error));
    } finally {
      await this.#dma?.stop();
      this.#ram?.end();
      this.#channel?.destroy('the migration is over');
      await this.#throttle.release();
      await this.#ramPath?.destroy();
    }
  }

  /** `migrate_cancel`: resolves at once; the migration ends `cancelled` once its work has stopped. */
  cancel(): void {
    const status = this.#status.current;
    if (status === 'cancelling' || !['setup', 'active', 'pre-switchover', 'device'].includes(status)) return;
    this.#status.move('cancelling');
    this.#abort.abort(new HarnessError('migration/cancelled', {}));
    this.#permit?.reject(this.#abort.signal.reason);
    this.#channel?.destroy('migration was cancelled');
    this.#endRamPath();
  }

  /** QMP `yank`: closes the connection under the migration, which then fails, whatever it waits for. */
  yank(why: string): void {
    if (!isRunning(this.#status.current)) return;
    this.#abort.abort(new HarnessError('transport/closed', { uri: this.#address.uri, at: this.#bytesWritten, why }));
    this.#permit?.reject(this.#abort.signal.reason);
    this.#channel?.destroy(why);
    this.#endRamPath();
  }

  /** `migrate-continue`: lets a migration that waits in `pre-switchover` go on. */
  proceed(): void {
    this.#permit?.resolve();
  }

  /** The source's part of query-migrate. */
  info(): MigrationInfo {
    const switchover = {
      peer: this.#peer,
      ack: this.#ack,
      ackMs: this.#ackMs,
      judge: this.#judge,
      ledger: this.#downtimeAccount,
    };
    return sourceInfo({
      status: this.#status.current,
      error: this.#error,
      stats: this.#stats,
      ram: this.#ram,
      sections: this.#sections,
      throttle: this.#throttle,
      ramPath: this.#ramPath?.info() ?? {},
      switchover: this.#machine.machineName === 'none' ? undefined : switchover,
    });
  }

  get #bytesWritten(): number {
    return (this.#channel?.sink.bytesWritten ?? 0) + this.#otherChannels().multifdBytes;
  }

  // ── phases ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #setup(startMs: number): Promise<void> {
    this.#enter('setup');
    const { sink } = this.#connected();
    const { capabilities, properties } = this.#options;
    const devices = await this.#machine.devices();
    this.#ramPath = await openRamPath({
      machine: this.#machine,
      devices: devices.length,
      options: this.#options,
      address: this.#address,
      channel: this.#connected(),
      threads: this.#threads,
      tls: this.#tls,
      signal: this.#abort.signal,
    });
    const ram = this.#ramPath.sender;
    this.#ram = ram;
    this.#sections = new SectionSaver({
      ack: this.#ack,
      devices,
      options: this.#options,
      stateChannels: this.#ramPath.stateChannels,
      sink,
      framing: this.#framing,
      ledger: this.#ledger,
      clock: this.#clock,
    });
    this.#judge = new SwitchoverJudge({
      ram,
      sections: this.#sections,
      stats: this.#stats,
      ack: this.#ack,
      peer: this.#peer,
      sync: async () => this.#throttle.judge(await this.#sync()),
      clock: this.#clock,
      signal: this.#abort.signal,
      connection: { sink, framing: this.#framing, bytesWritten: () => this.#bytesWritten },
    });
    const configuration = properties['send-configuration'] ? configurationOf(this.#machine, this.#options) : undefined;
    await sink.write(this.#framing.header(configuration));
    if (capabilities['return-path']) {
      this.#returnPath = new SourceReturnPath({
        channel: this.#connected(),
        clock: this.#clock,
        blocks: ram.blocks,
        listener: {
          pong: (value) => this.#peer.pong(value, this.#bytesWritten),
          switchoverAck: () => this.#acked(),
          extension: (name, data, at) => this.#peer.heard(name, data, at),
        },
        onFailure: (error) => this.#returnPathFailed(error),
      });
      await sink.write(this.#framing.command('OPEN_RETURN_PATH'));
      await sink.write(this.#framing.ping(1));
      // QEMU has no other machine than `none` of ours, so only on others may a Switchover be at the other end.
      if (this.#machine.machineName !== 'none') await sink.write(this.#framing.ping(PROBE_PING));
    }
    const section = { id: RAM_SECTION_ID, idstr: 'ram', instanceId: 0, version: RAM_VERSION };
    this.#dma = await DmaTracking.start({ devices, block: this.#machine.ramBlocks[0]!, log: this.#log });
    ram.begin();
    this.#synced(0);
    await sink.write(this.#framing.sectionHeader('SECTION_START', section));
    await ram.sendSetup();
    await sink.write(this.#framing.footer(RAM_SECTION_ID));
    await this.#sections.setup(this.#machine.isRunning());
    await sink.flush();
    this.#goOn();
    this.#stats.setupDone(startMs);
    this.#status.move('active');
  }

  async #iterate(): Promise<void> {
    this.#enter('iterate');
    for (;;) {
      this.#goOn();
      if (!this.#stats.rateExceeded() && (await this.#iteration()) === 'done') return;
      this.#stats.checkWindow();
      if (this.#stats.rateExceeded()) {
        await this.#clock.sleep(this.#stats.windowLeftMs(), this.#abort.signal);
        this.#stats.checkWindow();
      }
    }
  }

  /** One decision of spec/control.md §7.3: done, or another part was sent. */
  async #iteration(): Promise<'done' | 'again'> {
    if (this.#throttle.syncDue(this.#clock.nowMs(), this.#stats.dirtySyncCount)) {
      await this.#throttle.judge(await this.#sync());
    }
    const judgement = await this.#judge!.judge(this.#machine.isRunning());
    if (judgement === 'switch') return 'done';
    if (judgement === 'ack') this.#idle.ackIsMissing();
    // Every device gets its turn before RAM: hot RAM must not keep one from the data that its ack waits for.
    const sections = this.#sections!;
    const beforeMs = sections.sendingMs;
    const deviceBytes = await sections.iterate();
    await this.#judge!.askForBacklog();
    const beganMs = this.#clock.nowMs();
    const part = await this.#sendPart('SECTION_PART', () => {
      const allowed = Math.ceil(this.#stats.budgetLeft() / PAGE_SIZE);
      return this.#clock.nowMs() >= beganMs + PART_MS ? 0 : allowed;
    });
    if (deviceBytes + part.normalPages + part.zeroPages > 0 || part.recordBytes > EOS_BYTES) {
      this.#stats.busy(sections.sendingMs - beforeMs + this.#clock.nowMs() - beganMs);
    } else await this.#idle.moment();
    return 'again';
  }

  #acked(): void {
    const devices = this.#ack.acked();
    const ackMs = Math.round(this.#clock.nowMs() - this.#stats.startMs);
    for (const device of devices) this.#ackMs.set(device, ackMs);
    this.#log.info({ devices, ackMs }, 'switchover-ack');
  }

  async #switchover(): Promise<VmState> {
    this.#enter('switchover');
    this.#ack.decide();
    await this.#sections!.pendingExact(); // a device that asks for another ack by now has asked too late
    const state = this.#stoppedState ?? (await this.#stopGuest());
    this.#goOn();
    if (this.#options.capabilities['pause-before-switchover']) {
      this.#permit = Promise.withResolvers();
      this.#permit.promise.catch(() => undefined); // a cancel may come before anyone waits
      this.#status.move('pre-switchover');
      await this.#permit.promise;
    }
    this.#goOn();
    this.#status.move('device');
    return state;
  }

  /** The guest stands still from here on, until the end or a failure. */
  async #stopGuest(): Promise<VmState> {
    this.#stats.downtimeStarts();
    this.#stopped = true;
    const startMs = this.#clock.nowMs();
    const state = await this.#machine.stopForSwitchover();
    this.#stoppedMs = this.#clock.nowMs();
    this.#ledger.add('machine', 'stop', startMs, this.#stoppedMs);
    return state;
  }

  async #complete(state: VmState): Promise<void> {
    this.#enter('complete');
    const { sink } = this.#connected();
    const { properties } = this.#options;
    if (properties['send-switchover-start']) await sink.write(this.#framing.command('SWITCHOVER_START'));
    // Devices take nothing before they hear of it, and may fill the channels that RAM needs; logs come before they are busy.
    await Promise.all([sink.flush(), this.#dma!.collect(true), this.#sections!.startSaves()]);
    this.#sections!.startTransfers();
    this.#synced(this.#ram!.sync());
    const startMs = this.#clock.nowMs();
    this.#ledger.add('ram', 'save', this.#stoppedMs, startMs);
    await this.#sendPart('SECTION_END', () => Number.MAX_SAFE_INTEGER);
    this.#ledger.add('ram', 'wire', startMs, this.#clock.nowMs());
    await this.#sections!.complete();
    const devices = await this.#sections!.full(state, { storeGlobalState: properties['store-global-state'] });
    const machine = configurationOf(this.#machine, this.#options);
    const description = this.#machine.suppressDescription ? undefined : describe({ ...machine, devices });
    await sink.write(this.#framing.end(description));
    await sink.flush();
    await this.#delivered();
    this.#goOn();
    this.#status.move('completed');
    this.#machine.handedOver();
    const { totalMs, downtimeMs, dirtySyncCount } = this.#stats;
    this.#log.info({ totalMs, downtimeMs, dirtySyncCount }, 'migration completed');
  }

  /** The destination said it loaded everything, or, without a return path, the bytes are out; the clocks stop there. */
  async #delivered(): Promise<void> {
    await this.#returnPath?.finalStatus(this.#abort.signal);
    this.#stats.completed();
    this.#account();
    if (this.#returnPath === undefined) await this.#connected().close();
  }

  /** Closes the ledger of the downtime, with the destination's parts if it told them. */
  #account(): void {
    const endMs = this.#clock.nowMs();
    this.#ledger.addPeer(this.#peer.parts(), endMs);
    this.#downtimeAccount = this.#ledger.close(this.#stats.downtimeStartMs ?? endMs, endMs);
  }

  async #fail(error: unknown): Promise<void> {
    const reason = error instanceof Error ? error : new Error(String(error));
    // Before the channel goes: its end is a consequence, and would be taken for the cause.
    if (this.#status.current !== 'cancelling') this.#error ??= reason;
    this.#ram?.end();
    this.#channel?.destroy('the migration failed');
    this.#endRamPath();
    for (const err of (await this.#sections?.cleanup()) ?? [])
      this.#log.warn({ err }, 'a device did not end its saving');
    const cancelled = this.#status.current === 'cancelling'; // perhaps only since the devices began to clean up
    if (!cancelled) {
      this.#log.error({ err: reason, phase: this.#phase }, 'migration failed');
      // As in QEMU, whose setup ends before its errors are looked at: a client sees `active` once there was a connection.
      if (this.#status.current === 'setup' && this.#ram !== undefined) this.#status.move('active');
      this.#status.move('failed');
    }
    if (this.#stopped) await this.#machine.undoSwitchover();
    if (cancelled) this.#status.move('cancelled');
  }

  // ── parts of phases ────────────────────────────────────────────────────────────────────────────────────────────

  async #sendPart(type: 'SECTION_PART' | 'SECTION_END', pagesAllowed: PagesAllowed): Promise<RamPart> {
    const { sink } = this.#connected();
    const breather = new Breather();
    await sink.write(this.#framing.partHeader(type, RAM_SECTION_ID));
    const part = await this.#ram!.sendPart((sent) => {
      this.#goOn();
      const turn = breather.breathe();
      return turn === undefined ? pagesAllowed(sent) : turn.then(() => pagesAllowed(sent));
    }, type === 'SECTION_END');
    await sink.write(this.#framing.footer(RAM_SECTION_ID));
    await sink.flush();
    if (type === 'SECTION_PART') part.recordBytes += EOS_BYTES;
    this.#stats.partSent(part, this.#machine.isRunning());
    return part;
  }

  async #sync(): Promise<DirtyPeriod | undefined> {
    await this.#dma!.collect(false);
    return this.#synced(this.#ram!.sync());
  }

  #synced(fresh: number): DirtyPeriod | undefined {
    this.#goOn(); // after `cancelling` no pass is announced
    const period = this.#stats.synced(fresh, this.#ram!.pendingBytes);
    this.#log.info(
      { pass: this.#stats.dirtySyncCount, fresh, dirtyBytes: this.#ram!.pendingBytes },
      'dirty bitmap sync',
    );
    this.#onPass(this.#stats.dirtySyncCount);
    return period;
  }

  #otherChannels(): RamPathCounters {
    return this.#ramPath?.counters() ?? { multifdBytes: 0, missedZeroCopy: 0 };
  }

  /** Whoever waits for the path's channels is to hear at once; `run` waits for their end. */
  #endRamPath(): void {
    this.#ramPath?.destroy().catch((error) => this.#log.error({ err: error }, 'a RAM channel did not end'));
  }

  #connected(): Channel {
    if (this.#channel === undefined)
      throw new HarnessError('internal/assertion', { why: 'connect() comes before run()' });
    return this.#channel;
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#log.info({ phase }, 'phase');
  }

  /** Throws when the migration was cancelled or the destination reported an error meanwhile. */
  #goOn(): void {
    if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
    if (this.#error !== undefined) throw this.#error;
  }

  #returnPathFailed(error: Error): void {
    if (this.#abort.signal.aborted || !['setup', 'active', 'pre-switchover', 'device'].includes(this.#status.current))
      return;
    this.#error ??= error;
    this.#permit?.reject(error);
    this.#channel?.destroy(error.message);
    this.#endRamPath();
  }

  async #whatWentWrong(error: unknown): Promise<unknown> {
    if (this.#abort.signal.aborted) return this.#abort.signal.reason;
    if (this.#error !== undefined) return this.#error;
    return this.#returnPath === undefined ? error : this.#returnPath.explain(error);
  }
}
