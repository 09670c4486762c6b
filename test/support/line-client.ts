/** A client that speaks raw bytes on a real socket and reads whole lines; what a QMP test needs besides good manners. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { SocketEndpoint } from '../../src/qmp/monitor-options.ts';

/** See the header. */
export class LineClient implements AsyncDisposable {
  readonly socket: Socket;
  readonly #lines: string[] = [];
  #rest = '';
  #ended = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      const lines = (this.#rest + text).split('\r\n');
      this.#rest = lines.pop() ?? '';
      this.#lines.push(...lines);
      this.#wake();
    });
    socket.on('error', () => this.#end());
    socket.on('end', () => this.#end());
    socket.on('close', () => this.#end());
  }

  static async connect(endpoint: SocketEndpoint): Promise<LineClient> {
    const socket = connect({ ...endpoint, allowHalfOpen: true });
    await once(socket, 'connect');
    return new LineClient(socket);
  }

  /** Connects, reads the greeting and negotiates. */
  static async negotiated(endpoint: SocketEndpoint): Promise<LineClient> {
    const client = await LineClient.connect(endpoint);
    await client.next();
    client.send({ execute: 'qmp_capabilities' });
    await client.next();
    return client;
  }

  /** Sends text as it is, or an object as JSON. */
  send(input: string | object): void {
    this.socket.write(typeof input === 'string' ? input : JSON.stringify(input));
  }

  /** The next message; undefined once the server has closed. */
  async next(): Promise<unknown> {
    const line = await this.nextLine();
    return line === undefined ? undefined : JSON.parse(line);
  }

  /** The next message as it was written; undefined once the server has closed. */
  async nextLine(): Promise<string | undefined> {
    while (this.#lines.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#lines.shift();
  }

  /** All messages until the server closes. */
  async rest(): Promise<unknown[]> {
    const messages: unknown[] = [];
    for (let message = await this.next(); message !== undefined; message = await this.next()) messages.push(message);
    return messages;
  }

  /** Whole messages that have come and were not read yet. */
  get unread(): number {
    return this.#lines.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { socket } = this;
    socket.destroy();
    if (!socket.closed) await once(socket, 'close');
  }

  #end(): void {
    this.#ended = true;
    this.#wake();
  }
}
