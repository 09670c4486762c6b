/**
 * A `switchover vm` child process and its QMP connection. Each machine in a process of its own has a core of its own,
 * and what crosses between two of them crosses a real socket.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Clock, systemClock } from '../base/clock.ts';
import { HarnessError, isHarnessError, messageOf } from '../base/errors.ts';
import { connectQmp, type QmpClient } from '../qmp/client.ts';
import { PACKAGE_ROOT } from './version.ts';
import { REHEARSED } from './vm-channel.ts';

const START_DEADLINE_MS = 20_000;
const CONNECT_RETRY_MS = 10;
const EXIT_DEADLINE_MS = 5000;
/** A machine that is busy for so long migrates all the same. */
const REHEARSAL_MS = 5000;
/** The end of what the child said on stderr; an error message needs no more. */
const STDERR_TAIL = 4000;

/** How to start one machine: its part in messages, the directory for its socket, its options. */
export interface VmProcessConfig {
  readonly role: 'source' | 'destination';
  readonly directory: string;
  readonly args: readonly string[];
  readonly clock?: Clock;
}

/** A running machine; disposing it ends the process. */
export class VmProcess implements AsyncDisposable {
  readonly role: 'source' | 'destination';
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #rehearsed: Promise<unknown>;
  #stderr = '';
  #qmp: QmpClient | undefined;

  private constructor(role: 'source' | 'destination', child: ChildProcess) {
    this.role = role;
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once('close', () => resolve());
      child.once('error', (error) => {
        this.#stderr += messageOf(error);
        resolve();
      });
    });
    this.#rehearsed = new Promise((resolve) => child.on('message', (said) => said === REHEARSED && resolve(said)));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_TAIL);
    });
  }

  /** Starts the process and negotiates QMP; throws `cli/migration` with the child's own words when it does not come up. */
  static async start(config: VmProcessConfig): Promise<VmProcess> {
    const socket = join(config.directory, `${config.role}.qmp`);
    const script = fileURLToPath(new URL('bin/switchover.js', PACKAGE_ROOT));
    const args = [script, 'vm', '-name', config.role, '-qmp', `unix:${socket},server=on,wait=off`, ...config.args];
    // The ipc channel has what vm-channel.ts says; when this process dies, it closes, and bin/switchover.js ends the machine.
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    const machine = new VmProcess(config.role, child);
    try {
      machine.#qmp = await machine.#connect(`unix:${socket}`, config.clock ?? systemClock);
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
    return machine;
  }

  /** Executes one QMP command; when the connection breaks, what the machine said as it ended is the error. */
  async execute(command: string, args?: object): Promise<unknown> {
    if (this.#qmp === undefined) throw this.#ended();
    try {
      return await this.#qmp.execute(command, args);
    } catch (error) {
      if (isHarnessError(error, 'transport/closed')) {
        // The socket closes a moment before the process is gone; what it has to say comes with its end.
        await Promise.race([this.#exited, delay(EXIT_DEADLINE_MS, undefined, { ref: false })]);
        throw this.#ended(error);
      }
      throw new HarnessError(
        'cli/migration',
        { text: `${this.role}: ${command}: ${messageOf(error)}` },
        { cause: error },
      );
    }
  }

  /** Resolves once the machine has rehearsed, or has ended or taken too long: a migration is then as fast as any. */
  async rehearsed(): Promise<void> {
    const late = delay(REHEARSAL_MS, undefined, { ref: false });
    await Promise.race([this.#rehearsed, this.#exited, late]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const deadline = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_DEADLINE_MS);
    if (!this.#gone) this.#child.kill('SIGTERM');
    await this.#exited;
    clearTimeout(deadline);
    await this.#qmp?.[Symbol.asyncDispose]();
  }

  get #gone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined;
  }

  async #connect(address: string, clock: Clock): Promise<QmpClient> {
    const deadline = clock.nowMs() + START_DEADLINE_MS;
    for (;;) {
      try {
        return await connectQmp(address);
      } catch (error) {
        if (this.#gone || clock.nowMs() > deadline) throw this.#ended(error);
        await clock.sleep(CONNECT_RETRY_MS);
      }
    }
  }

  #ended(cause?: unknown): HarnessError<'cli/migration'> {
    const said = this.#stderr.trim();
    const how = this.#gone
      ? `ended (${this.#child.signalCode ?? `exit code ${this.#child.exitCode}`})`
      : 'does not answer';
    const text = `the ${this.role} machine ${how}${said === '' ? '' : `: ${said}`}`;
    return new HarnessError('cli/migration', { text }, { cause });
  }
}
