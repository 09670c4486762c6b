/**
 * A QMP session on a pair of streams: reads, writes, and lets go of a client that leaves or does not read what it is
 * sent (the limits are in `limits.ts`). A client may vanish at any moment; that is never an error here.
 */

import type { Readable, Writable } from 'node:stream';
import { messageOf } from '../base/errors.ts';
import type { VmControl } from '../migration/vm-control.ts';
import { QMP_LIMITS } from './limits.ts';
import { QmpSession, type SessionOutput } from './session.ts';
import type { YankableMonitors } from './yank.ts';

/** What every connection of a server shares. */
export interface ConnectionConfig {
  readonly vm: VmControl;
  readonly packageVersion: string;
  /** Milliseconds since the epoch, with fractions. */
  readonly nowMs: () => number;
  /** Told about odd things that were survived. */
  readonly warn: (text: string) => void;
  /** For yank. */
  readonly monitors: YankableMonitors;
  /** Messages of several lines. */
  readonly pretty?: boolean;
}

/** The two directions; for a socket both are the same object. */
export interface ConnectionStreams {
  readonly input: Readable;
  readonly output: Writable;
  /** Standard output is not ours to end. */
  readonly endOutput: boolean;
}

/** One client that is being served. */
export class QmpConnection {
  readonly #streams: ConnectionStreams;
  readonly #session: QmpSession;
  /** Resolves when the client is gone. */
  readonly closed: Promise<void>;

  constructor(streams: ConnectionStreams, config: ConnectionConfig) {
    this.#streams = streams;
    const { input, output } = streams;
    const leave = () => this.#session.close();
    // Errors of either direction mean that the client left; `closed` and the listeners below see to the rest.
    input.on('error', leave);
    output.on('error', leave);
    output.on('close', leave);
    this.#session = new QmpSession({ ...config, output: boundedOutput(output, config.warn) });
    this.closed = this.#serve().catch((error: unknown) => {
      if (!isStreamError(error)) config.warn(`a QMP connection ended: ${messageOf(error)}`);
    });
  }

  /** Answers the commands already taken, sends what is unsent, and closes; a client that does not read is cut off. */
  async finish(): Promise<void> {
    const deadline = setTimeout(() => this.cut(), QMP_LIMITS.FLUSH_MS);
    await this.#session.idle();
    await flushed(this.#streams.output);
    clearTimeout(deadline);
    this.cut();
    await this.closed;
  }

  async #serve(): Promise<void> {
    const { input, output, endOutput } = this.#streams;
    try {
      this.#session.start();
      for await (const chunk of input.iterator({ destroyOnReturn: false })) {
        await this.#session.receive(chunk as Buffer);
        if (output.destroyed) break;
      }
      // A client that only shut down its sending side still gets its replies.
      await this.#session.idle();
      if (endOutput && !output.destroyed) await new Promise<void>((resolve) => closeAfterEnd(output, resolve));
    } finally {
      this.cut();
    }
  }

  /** Ends the connection at once, whatever was still to be said. */
  cut(): void {
    this.#session.close();
    this.#streams.input.destroy();
    if (this.#streams.endOutput) this.#streams.output.destroy();
  }
}

/** Output that holds back commands while the client reads slowly, and gives the client up when it does not read. */
function boundedOutput(stream: Writable, warn: (text: string) => void): SessionOutput {
  return {
    send(text) {
      if (stream.destroyed || stream.writableEnded) return;
      if (stream.writableLength > QMP_LIMITS.UNREAD_OUTPUT_BYTES) {
        warn(`a QMP client left ${stream.writableLength} bytes unread and was disconnected`);
        stream.destroy();
        return;
      }
      stream.write(text);
    },
    async ready() {
      while (stream.writableLength > QMP_LIMITS.UNREAD_REPLY_BYTES && !stream.destroyed) await drained(stream);
    },
  };
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}

/** Resolves when everything written was handed to the system, or the stream is closed. */
async function flushed(stream: Writable): Promise<void> {
  while (stream.writableLength > 0 && !stream.destroyed) await drained(stream);
}

function closeAfterEnd(stream: Writable, done: () => void): void {
  stream.once('close', done);
  stream.end(done);
}

/** Errors of the system and of Node's streams have a code of their own; ours have one with a slash. */
function isStreamError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && !error.code.includes('/');
}
