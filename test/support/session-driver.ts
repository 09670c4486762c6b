/** A QMP session without a socket: what is sent to it, and the messages it answered with. */

import { QmpSession } from '../../src/qmp/session.ts';
import { RecordingVm } from './recording-vm.ts';

/** See the header. */
export class SessionDriver {
  readonly vm: RecordingVm;
  readonly session: QmpSession;
  /** Every message as it was sent, line end included. */
  readonly raw: string[] = [];
  /** What the session believes the time is, in ms since the epoch. */
  nowMs = 1_700_000_000_123.456;
  #blocked: PromiseWithResolvers<void> | undefined;
  #read = 0;

  constructor(vm = new RecordingVm()) {
    this.vm = vm;
    this.session = new QmpSession({
      vm,
      packageVersion: '1.2.3',
      monitors: { ids: [], cut: () => undefined },
      nowMs: () => this.nowMs,
      output: { send: (text) => this.raw.push(text), ready: async () => this.#blocked?.promise },
    });
    this.session.start();
  }

  /** A session that is past negotiation, its first messages already read. */
  static async negotiated(options: { readonly oob?: boolean; readonly vm?: RecordingVm } = {}): Promise<SessionDriver> {
    const driver = new SessionDriver(options.vm);
    await driver.ask({ execute: 'qmp_capabilities', arguments: { enable: options.oob === true ? ['oob'] : [] } });
    return driver;
  }

  /** Sends text (or an object as JSON) and returns the messages that came of it, once everything sent has been answered. */
  async ask(input: string | object): Promise<unknown[]> {
    await this.send(input);
    await this.session.idle();
    return this.messages();
  }

  /** Sends without waiting for the answers; resolves when the session takes more input. */
  send(input: string | object): Promise<void> {
    return this.session.receive(Buffer.from(typeof input === 'string' ? input : JSON.stringify(input)));
  }

  /** The messages since the last call. */
  messages(): unknown[] {
    return this.raw.slice(this.#read, (this.#read = this.raw.length)).map((text) => JSON.parse(text));
  }

  /** The client stops reading, until the returned function is called. */
  block(): () => void {
    this.#blocked = Promise.withResolvers();
    return this.#blocked.resolve;
  }
}

/** The reply to a command that failed. */
export function failure(desc: string, options: { readonly class?: string; readonly id?: unknown } = {}): object {
  const { class: errorClass = 'GenericError', ...id } = options;
  return { error: { class: errorClass, desc }, ...id };
}
