/**
 * A channel to a child process: its stdin takes what we write, its stdout is what we read (`exec:`, spec/control.md §6).
 * When the command fails, that is the error, and not the broken pipe that it leaves. It leads a process group of its own,
 * so that what it started ends with it.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { HarnessError } from '../../base/errors.ts';
import { systemReason } from '../../base/system-reason.ts';
import type { GatherList } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { ByteSink, ByteSource, Channel } from './channel.ts';
import { descriptorOf, EventSource, SocketSink, SocketState } from './socket-channel.ts';

/** Starts the command; rejects with `transport/open` when it cannot be started. */
export function openExec(command: readonly string[], uri: string): Promise<Channel> {
  const [program = '', ...args] = command;
  const failed = (cause: unknown) => {
    const why = `Failed to execute child process “${program}” (${systemReason(cause)})`; // GLib's words, as in QEMU
    return new HarnessError('transport/open', { uri, why }, { cause });
  };
  return new Promise((resolve, reject) => {
    // spawn() itself throws for what no system call would take, such as an empty name.
    if (program === '') return reject(failed(Object.assign(new Error('no name'), { code: 'ENOENT' })));
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    child.once('error', (error) => reject(failed(error)));
    child.once('spawn', () => resolve(new ExecChannel(new Command(child, uri))));
  });
}

/** The process, and how it ended. */
class Command {
  readonly uri: string;
  readonly child: ChildProcess;
  /** Resolves with what is wrong about its end. */
  readonly exited: Promise<HarnessError | undefined>;
  isEnded = false;
  #isKilled = false;
  /** This process ends before the command does, which may take no notice of a SIGTERM. */
  readonly #lastResort = () => this.kill('SIGKILL');

  constructor(child: ChildProcess, uri: string) {
    this.child = child;
    this.uri = uri;
    process.once('exit', this.#lastResort);
    this.exited = new Promise((resolve) => {
      child.once('exit', (status, signal) => {
        this.isEnded = true;
        process.off('exit', this.#lastResort);
        const why = signal === null ? `exited with status ${status}` : `died of ${signal}`;
        resolve(status === 0 ? undefined : new HarnessError('transport/exec', { uri, why }));
      });
    });
  }

  /** How it ended, if that is what broke a pipe; undefined when it lives on, or when we ended it. */
  async failure(): Promise<HarnessError | undefined> {
    if (this.#isKilled) return undefined;
    const patience = AbortSignal.timeout(LIMITS.EXEC_END_MS);
    const waited = new Promise<undefined>((resolve) =>
      patience.addEventListener('abort', () => resolve(undefined), { once: true }),
    );
    return await Promise.race([this.exited, waited]);
  }

  /** Ends it and what it started. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#isKilled = true;
    const { pid } = this.child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code !== 'ESRCH') throw error; // all of them are gone
    }
  }
}

/** A sink whose errors tell of the command. */
class CommandSink implements ByteSink {
  readonly #sink: SocketSink;
  readonly #command: Command;

  constructor(sink: SocketSink, command: Command) {
    this.#sink = sink;
    this.#command = command;
  }

  get bytesWritten(): number {
    return this.#sink.bytesWritten;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#explained(this.#sink.write(bytes));
  }

  writeBatch(batch: GatherList): Promise<void> {
    return this.#explained(this.#sink.writeBatch(batch));
  }

  flush(): Promise<void> {
    return this.#explained(this.#sink.flush());
  }

  async #explained(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      throw (await this.#command.failure()) ?? error;
    }
  }
}

class ExecChannel implements Channel {
  readonly uri: string;
  readonly bidirectional = true;
  readonly sink: ByteSink;
  readonly source: ByteSource;
  readonly #command: Command;
  readonly #states: readonly SocketState[];
  #hasRead = false;

  constructor(command: Command) {
    const { child, uri } = command;
    this.uri = uri;
    this.#command = command;
    // Node makes both ends of a 'pipe' sockets; the types only promise streams.
    const stdin = child.stdin as Socket;
    const stdout = child.stdout as Socket;
    const writing = new SocketState(stdin, uri);
    const reading = new SocketState(stdout, uri);
    this.#states = [writing, reading];
    this.sink = new CommandSink(new SocketSink(stdin, writing, descriptorOf(stdin)), command);
    const events = new EventSource(stdout, reading);
    this.source = {
      readv: undefined,
      read: async (into) => {
        this.#hasRead = true;
        const count = await events.read(into);
        const failure = count === 0 ? await command.failure() : undefined;
        if (failure !== undefined) throw failure;
        return count;
      },
    };
  }

  /** Rejects with `transport/exec` when the command that took the stream failed: nobody has it then. */
  async close(): Promise<void> {
    const { child } = this.#command;
    await this.sink.flush().catch(() => undefined); // the command may be gone: nothing left to deliver
    child.stdin?.end();
    // Whoever reads has read all it wants, and the command may never stop: the end of the pipe is the end of it. A command
    // that we write to may write as well, to the terminal as it were, and must not die of that before it is done.
    if (this.#hasRead) child.stdout?.destroy();
    else child.stdout?.resume();
    const patience = this.#hasRead ? setTimeout(() => this.#command.kill('SIGKILL'), LIMITS.EXEC_END_MS) : undefined;
    const failure = await this.#command.exited;
    clearTimeout(patience);
    if (failure !== undefined && !this.#hasRead) throw failure;
  }

  destroy(why: string): void {
    for (const state of this.#states) state.fail(why);
    this.#command.child.stdin?.destroy();
    this.#command.child.stdout?.destroy();
    if (this.#command.isEnded) return;
    this.#command.kill('SIGTERM');
    const patience = setTimeout(() => this.#command.kill('SIGKILL'), LIMITS.EXEC_END_MS).unref();
    void this.#command.exited.then(() => clearTimeout(patience));
  }
}
