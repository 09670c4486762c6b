/** A channel to a child process: its stdin takes what we write, its stdout is what we read (`exec:`, spec/control.md §6). */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { ByteSink, ByteSource, Channel } from './channel.ts';
import { descriptorOf, EventSource, SocketSink, SocketState } from './socket-channel.ts';

/** Starts the command; rejects with `transport/open` when it cannot be started. */
export function openExec(command: readonly string[], uri: string): Promise<Channel> {
  const [program = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    child.once('error', (error) =>
      reject(new HarnessError('transport/open', { uri, why: messageOf(error) }, { cause: error })),
    );
    child.once('spawn', () => resolve(new ExecChannel(child, uri)));
  });
}

class ExecChannel implements Channel {
  readonly uri: string;
  readonly bidirectional = true;
  readonly sink: ByteSink;
  readonly source: ByteSource;
  readonly #child: ChildProcess;
  readonly #states: readonly SocketState[];
  readonly #exited: Promise<void>;
  #hasRead = false;

  constructor(child: ChildProcess, uri: string) {
    this.uri = uri;
    this.#child = child;
    // Node makes both ends of a 'pipe' sockets; the types only promise streams.
    const stdin = child.stdin as Socket;
    const stdout = child.stdout as Socket;
    const writing = new SocketState(stdin, uri);
    const reading = new SocketState(stdout, uri);
    this.#states = [writing, reading];
    this.sink = new SocketSink(stdin, writing, descriptorOf(stdin));
    const events = new EventSource(stdout, reading);
    this.source = {
      readv: undefined,
      read: (into) => {
        this.#hasRead = true;
        return events.read(into);
      },
    };
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (code !== 0)
          writing.fail(signal === null ? `the command exited with ${code}` : `the command died of ${signal}`);
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    await this.sink.flush().catch(() => undefined); // the command may be gone: nothing left to deliver
    this.#child.stdin?.end();
    // Whoever reads has read all it wants, and the command may never stop: the end of the pipe is the end of it. A command
    // that we write to may write as well, to the terminal as it were, and must not die of that before it is done.
    if (this.#hasRead) this.#child.stdout?.destroy();
    else this.#child.stdout?.resume();
    const patience = this.#hasRead ? setTimeout(() => this.#child.kill('SIGKILL'), LIMITS.EXEC_END_MS) : undefined;
    await this.#exited;
    clearTimeout(patience);
  }

  destroy(why: string): void {
    for (const state of this.#states) state.fail(why);
    this.#child.stdin?.destroy();
    this.#child.stdout?.destroy();
    this.#child.kill('SIGTERM');
  }
}
