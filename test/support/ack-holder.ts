/** Stands between a source and a destination and keeps the destination's switchover-acks until they are let go: late, or twice. */

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

const HEADER_BYTES = 4;
const ACK_TYPE = 7;
const ACK = Buffer.from('00070000', 'hex');

/** See the header; for one connection. */
export class AckHolder implements AsyncDisposable {
  readonly #server: Server;
  readonly #path: string;
  readonly #held = Promise.withResolvers<void>();
  readonly #acks: number;
  #kept = 0;
  readonly #sockets: Socket[] = [];
  #source: Socket | undefined;
  #rest = Buffer.alloc(0);

  /** Listens on `path` for a source, whose destination listens on `target` and is to send so many acks. */
  static async start(path: string, target: string, acks: number): Promise<AckHolder> {
    const holder = new AckHolder(path, target, acks);
    holder.#server.listen(path);
    await once(holder.#server, 'listening');
    return holder;
  }

  private constructor(path: string, target: string, acks: number) {
    this.#acks = acks;
    this.#path = path;
    this.#server = createServer((source) => {
      const destination = connect(target);
      this.#source = source;
      this.#sockets.push(source, destination);
      source.on('error', () => destination.destroy()).pipe(destination);
      destination.on('error', () => source.destroy()).on('data', (bytes: Buffer) => this.#pass(bytes));
      destination.on('end', () => source.end());
    });
  }

  /** Where a source is to connect. */
  get uri(): string {
    return `unix:${this.#path}`;
  }

  /** Resolves once all acks have come and are kept. */
  get held(): Promise<void> {
    return this.#held.promise;
  }

  /** An ack goes to the source, if that is there still; may be called more often than acks came. */
  letGo(): void {
    this.#source?.write(ACK);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Passes every whole message but acks. */
  #pass(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= HEADER_BYTES) {
      const messageBytes = HEADER_BYTES + this.#rest.readUInt16BE(2);
      if (this.#rest.length < messageBytes) return;
      if (this.#rest.readUInt16BE(0) === ACK_TYPE) this.#kept += 1;
      else this.#source?.write(this.#rest.subarray(0, messageBytes));
      this.#rest = this.#rest.subarray(messageBytes);
      if (this.#kept === this.#acks) this.#held.resolve();
    }
  }
}
