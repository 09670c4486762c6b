/**
 * One side of a migration in a process of its own, driven over QMP: a real QEMU (qemu.ts) or our `switchover vm`
 * (switchover-vm.ts). Tests see the same interface for both, so that one test runs over every pair of them.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { parseSize } from '../../src/base/units.ts';
import { type TempDir, tempDir } from './temp.ts';
import { connectTinyQmp, type QmpClient } from './tiny-qmp.ts';

/** Which program plays the machine. */
export type PeerKind = 'qemu' | 'switchover';

/** How to start one; the names are QEMU's options without the dash where there is one. */
export interface PeerOptions {
  /** RAM as on QEMU's command line, for example `64M`. */
  readonly memory: string;
  /** `-M`; default `none`. */
  readonly machine?: string;
  /** `-incoming`: a URI, or `defer` to set capabilities first. */
  readonly incoming?: string;
  /** A file that RAM holds from address 0 at the start. */
  readonly loadFile?: string;
  readonly uuid?: string;
  /** Start the guest at once; by default the machine waits (`-S`). */
  readonly running?: boolean;
  /** More options, as they are. */
  readonly args?: readonly string[];
  /** Descriptors of this process that the peer has from 3 on. */
  readonly descriptors?: readonly number[];
}

/** query-migrate, as far as tests read it. */
interface MigrateInfo {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly [member: string]: unknown;
}

/** A running machine. Disposal ends the process and does not return before it is reaped. */
export interface Peer extends AsyncDisposable {
  readonly kind: PeerKind;
  readonly qmp: QmpClient;
  readonly pid: number;
  /** Bytes of RAM. */
  readonly memoryBytes: number;
  /** What the process wrote to stderr so far. */
  readonly stderr: string;
  /** Resolves with the exit code, or the signal's name, once the process is gone. */
  readonly exited: Promise<number | string>;
  /** SHA-256 in hex of all RAM, through QMP pmemsave. */
  ramSha256(): Promise<string>;
  /** Waits for a status of query-migrate; rejects at another final status, at the process's end, or after `timeoutMs`. Asks every `pollMs`. */
  waitStatus(wanted: string | readonly string[], timeoutMs?: number, pollMs?: number): Promise<MigrateInfo>;
  /** Waits for a state of query-status, such as `running` or `paused`. */
  waitRunState(wanted: string | readonly string[], timeoutMs?: number): Promise<void>;
  /** Switches migration capabilities, `{ 'return-path': true }`. */
  setCapabilities(capabilities: Readonly<Record<string, boolean>>): Promise<void>;
}

const POLL_MS = 10;
const START_MS = 20_000;
const STATUS_MS = 60_000;
const QUIT_MS = 5_000;
/** Statuses a migration does not leave by itself. */
const FINAL_STATUSES: readonly string[] = ['completed', 'failed', 'cancelled'];

/** The options both programs understand, in QEMU's spelling. */
export function commonArguments(options: PeerOptions, qmpPath: string): string[] {
  const { memory, machine = 'none', incoming, loadFile, uuid, running = false, args = [] } = options;
  return [
    ...['-M', machine, '-m', memory],
    ...(running ? [] : ['-S']),
    ...['-qmp', `unix:${qmpPath},server=on,wait=off`],
    ...(uuid === undefined ? [] : ['-uuid', uuid]),
    ...(incoming === undefined ? [] : ['-incoming', incoming]),
    ...(loadFile === undefined ? [] : ['-device', `loader,file=${loadFile},addr=0,force-raw=on`]),
    ...args,
  ];
}

/** Starts `command` with what `argumentsFor` makes of the QMP socket's path, and connects to it. */
export async function startPeerProcess(options: {
  kind: PeerKind;
  command: string;
  memory: string;
  descriptors?: readonly number[] | undefined;
  argumentsFor: (qmpPath: string) => string[];
}): Promise<Peer> {
  const { kind, command, memory, argumentsFor, descriptors = [] } = options;
  const dir = await tempDir();
  const qmpPath = dir.file('qmp.sock');
  const peerProcess = new PeerProcess(command, argumentsFor(qmpPath), descriptors);
  try {
    const qmp = await connectWhenUp(peerProcess, qmpPath);
    return new RunningPeer({ kind, qmp, peerProcess, dir, memoryBytes: parseSize(memory, 'memory', 'm') });
  } catch (error) {
    await peerProcess.end();
    await dir[Symbol.asyncDispose]();
    throw error;
  }
}

async function connectWhenUp(peerProcess: PeerProcess, qmpPath: string): Promise<QmpClient> {
  let client: QmpClient | undefined;
  await peerProcess.until('its QMP socket', START_MS, async () => {
    try {
      client = await connectTinyQmp({ path: qmpPath });
      return true;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      // Not bound yet, or bound and not listening yet.
      if (code === 'ENOENT' || code === 'ECONNREFUSED') return false;
      throw error;
    }
  });
  if (client === undefined) throw peerProcess.failure('no QMP connection');
  return client;
}

const live = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of live) child.kill('SIGKILL');
});

/** A child process whose end, error text and deadlines are looked after. */
class PeerProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<number | string>;
  readonly #title: string;
  stderr = '';
  #gone: string | undefined;

  constructor(command: string, args: readonly string[], descriptors: readonly number[]) {
    this.#title = [command, ...args].join(' ');
    this.child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe', ...descriptors] });
    live.add(this.child);
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.exited = new Promise((resolve) => {
      this.child.once('error', (error) => this.#end(error.message, resolve));
      // `close`, not `exit`: by then all of stderr has been read.
      this.child.once('close', (code, signal) => this.#end(code ?? signal ?? 'unknown', resolve));
    });
  }

  /** Asks `condition` again and again until it holds; rejects when the process is gone or the time is up. */
  async until(
    what: string,
    timeoutMs: number,
    condition: () => Promise<boolean>,
    pollMs: number = POLL_MS,
  ): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await this.#alive(what, condition))) {
      if (performance.now() > deadline) throw this.failure(`waited ${timeoutMs} ms for ${what}`);
      await delay(pollMs);
    }
  }

  /** An error that names the process and carries its stderr. */
  failure(what: string, cause?: unknown): Error {
    return new Error(`${what}\n  process: ${this.#title}\n  stderr: ${this.stderr.trim()}`, { cause });
  }

  async end(): Promise<void> {
    if (this.#gone === undefined) this.child.kill('SIGKILL');
    await this.exited;
  }

  async #alive(what: string, condition: () => Promise<boolean>): Promise<boolean> {
    try {
      if (this.#gone === undefined) return await condition();
    } catch (error) {
      // A lost connection is the first sign of a process's end; give that a moment to become known.
      await Promise.race([this.exited, delay(1000, undefined, { ref: false })]);
      if (this.#gone === undefined) throw error;
    }
    throw this.failure(`the process ended (${this.#gone}) while waiting for ${what}`);
  }

  #end(how: number | string, resolve: (how: number | string) => void): void {
    live.delete(this.child);
    this.#gone ??= String(how);
    resolve(how);
  }
}

class RunningPeer implements Peer {
  readonly kind: PeerKind;
  readonly qmp: QmpClient;
  readonly memoryBytes: number;
  readonly #process: PeerProcess;
  readonly #dir: TempDir;

  constructor(parts: { kind: PeerKind; qmp: QmpClient; peerProcess: PeerProcess; dir: TempDir; memoryBytes: number }) {
    this.kind = parts.kind;
    this.qmp = parts.qmp;
    this.memoryBytes = parts.memoryBytes;
    this.#process = parts.peerProcess;
    this.#dir = parts.dir;
  }

  get pid(): number {
    return this.#process.child.pid ?? -1;
  }

  get stderr(): string {
    return this.#process.stderr;
  }

  get exited(): Promise<number | string> {
    return this.#process.exited;
  }

  async ramSha256(): Promise<string> {
    const image = this.#dir.file('ram.img');
    await this.qmp.execute('pmemsave', { val: 0, size: this.memoryBytes, filename: image });
    const hash = createHash('sha256');
    await pipeline(createReadStream(image, { highWaterMark: 1024 * 1024 }), hash);
    await rm(image);
    return hash.digest('hex');
  }

  async waitStatus(wanted: string | readonly string[], timeoutMs = STATUS_MS, pollMs = POLL_MS): Promise<MigrateInfo> {
    const statuses = typeof wanted === 'string' ? [wanted] : wanted;
    let info: MigrateInfo = {};
    const isThere = async () => {
      // QMP's reply is trusted here: a driver of tests, not a product.
      info = (await this.qmp.execute('query-migrate')) as MigrateInfo;
      const status = info.status ?? 'none';
      if (statuses.includes(status)) return true;
      if (!FINAL_STATUSES.includes(status)) return false;
      throw this.#process.failure(
        `migration ${status}, expected ${statuses.join(' or ')}: ${info['error-desc'] ?? ''}`,
      );
    };
    await this.#process.until(`migration status ${statuses.join(' or ')}`, timeoutMs, isThere, pollMs);
    return info;
  }

  async waitRunState(wanted: string | readonly string[], timeoutMs = STATUS_MS): Promise<void> {
    const states = typeof wanted === 'string' ? [wanted] : wanted;
    await this.#process.until(`run state ${states.join(' or ')}`, timeoutMs, async () => {
      const { status } = (await this.qmp.execute('query-status')) as { status: string };
      return states.includes(status);
    });
  }

  async setCapabilities(capabilities: Readonly<Record<string, boolean>>): Promise<void> {
    const list = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }));
    await this.qmp.execute('migrate-set-capabilities', { capabilities: list });
  }

  /** Quits politely, so that a frozen peer shows as slow, then by force; either way the process is reaped. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      const quit = this.qmp.execute('quit').then(
        () => this.exited,
        // Already gone, or going: the kill below is harmless then.
        () => undefined,
      );
      await Promise.race([quit, delay(QUIT_MS, undefined, { ref: false })]);
    } finally {
      await this.#process.end();
      await this.qmp[Symbol.asyncDispose]();
      await this.#dir[Symbol.asyncDispose]();
    }
  }
}
