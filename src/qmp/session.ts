/**
 * One client's QMP conversation, without its socket (spec/control.md §5.1): greeting, negotiation, commands one after
 * the other with their replies in the same order, events in between whole messages.
 */

import { HarnessError } from '../base/errors.ts';
import type { VmControl, VmEvent } from '../migration/vm-control.ts';
import type { Command, CommandContext, QmpCapability } from './command.ts';
import { findCommand } from './commands.ts';
import { type Envelope, errorMessage, eventMessage, printed, readEnvelope, returnMessage } from './envelope.ts';
import { QMP_LIMITS } from './limits.ts';
import { QmpParser } from './parser.ts';
import { versionInfo } from './replies.ts';
import type { YankableMonitors } from './yank.ts';

/** Where a session's messages go. */
export interface SessionOutput {
  /** Sends one whole message; does nothing when the client is gone. */
  send(text: string): void;
  /** Resolves when the client has read enough for another command to run, or is gone. */
  ready(): Promise<void>;
}

/** What a session needs. */
export interface SessionConfig {
  readonly vm: VmControl;
  /** Version of this package, for the greeting. */
  readonly packageVersion: string;
  /** For yank. */
  readonly monitors: YankableMonitors;
  readonly output: SessionOutput;
  /** Messages of several lines. */
  readonly pretty?: boolean;
  /** Milliseconds since the epoch, with fractions, for the timestamps of events. */
  readonly nowMs: () => number;
}

/** The server's side of one connection. */
export class QmpSession implements CommandContext {
  readonly vm: VmControl;
  readonly packageVersion: string;
  readonly monitors: YankableMonitors;
  readonly #output: SessionOutput;
  readonly #print: (message: object) => string;
  readonly #nowMs: () => number;
  readonly #parser = new QmpParser();
  #phase: Command['when'] | 'closed' = 'negotiating';
  #oobEnabled = false;
  #stopEvents: (() => void) | undefined;
  /** In-band commands that wait or run, and the end of the last of them. */
  #pending = 0;
  #last: Promise<void> = Promise.resolve();
  /** Ends the waiting for a command to finish; also called when the client is gone. */
  #wake: () => void = () => {};

  constructor(config: SessionConfig) {
    this.vm = config.vm;
    this.packageVersion = config.packageVersion;
    this.monitors = config.monitors;
    this.#output = config.output;
    this.#print = (message) => printed(message, config.pretty === true);
    this.#nowMs = config.nowMs;
  }

  /** Sends the greeting. */
  start(): void {
    this.#output.send(this.#print({ QMP: { version: versionInfo(this.packageVersion), capabilities: ['oob'] } }));
  }

  /**
   * Takes input; resolves when the next may come: with out-of-band execution enabled while at most 8 commands wait,
   * otherwise when all have run. Calls must not overlap.
   */
  async receive(chunk: Uint8Array): Promise<void> {
    for (const input of this.#parser.push(chunk)) {
      await this.#room();
      if (this.#closed) return;
      const envelope: Envelope =
        'value' in input
          ? readEnvelope(input.value, this.#oobEnabled)
          : { id: undefined, error: new HarnessError('qmp/generic', { text: input.syntaxError }) };
      if ('name' in envelope && envelope.oob) await this.#answer(envelope);
      else this.#enqueue(envelope);
    }
    await this.#room();
  }

  /** Resolves when every command taken so far has been answered, or the client is gone. */
  async idle(): Promise<void> {
    while (this.#pending > 0 && !this.#closed) await this.#commandEnd();
  }

  /** The client is gone: commands that still wait are dropped; one that runs ends unheard. */
  close(): void {
    this.#phase = 'closed';
    this.#stopEvents?.();
    this.#stopEvents = undefined;
    this.#wake();
  }

  /** Called by qmp_capabilities: from now on commands and events. */
  negotiate(enable: readonly QmpCapability[]): void {
    this.#phase = 'ready';
    this.#oobEnabled = enable.includes('oob');
    this.#stopEvents = this.vm.onEvent((event: VmEvent) =>
      this.#output.send(this.#print(eventMessage(event, this.#nowMs()))),
    );
  }

  #enqueue(envelope: Envelope): void {
    this.#pending += 1;
    this.#last = this.#last
      .then(() => this.#output.ready())
      .then(() => this.#answer(envelope))
      .finally(() => {
        this.#pending -= 1;
        this.#wake();
      });
  }

  async #room(): Promise<void> {
    const allowed = () => (this.#oobEnabled ? QMP_LIMITS.QUEUED_COMMANDS : 1);
    while (this.#pending >= allowed() && !this.#closed) await this.#commandEnd();
  }

  #commandEnd(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const others = this.#wake;
    this.#wake = () => {
      this.#wake = () => {};
      others();
      resolve();
    };
    return promise;
  }

  /** A method, because the phase changes while its callers wait. */
  get #closed(): boolean {
    return this.#phase === 'closed';
  }

  async #answer(envelope: Envelope): Promise<void> {
    if (this.#closed) return;
    const { id } = envelope;
    let reply: string;
    try {
      if ('error' in envelope) throw envelope.error;
      const result = await this.#admit(envelope).run(envelope.args, this);
      reply = this.#print(returnMessage(result, id));
    } catch (error) {
      reply = this.#print(errorMessage(error, id));
    }
    if (!this.#closed) this.#output.send(reply);
  }

  /** The command's row if it may run now. */
  #admit({ name, oob }: { readonly name: string; readonly oob: boolean }): Command {
    const command = findCommand(name);
    if (this.#phase === 'negotiating' && command?.when !== 'negotiating') {
      throw notFound("Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (command === undefined) throw notFound(`The command ${name} has not been found`);
    if (oob && !command.allowOob) {
      throw new HarnessError('qmp/generic', { text: `The command ${name} does not support OOB` });
    }
    if (command.when !== this.#phase) {
      throw notFound('Capabilities negotiation is already complete, command ignored');
    }
    return command;
  }
}

function notFound(text: string): HarnessError {
  return new HarnessError('qmp/command-not-found', { text });
}
