/** Stands between a source and a destination, passes everything on, and keeps what went either way on each connection. */

import { once } from 'node:events';
import net from 'node:net';

const RECORD_HEADER_BYTES = 5;
const HIGHEST_RECORD_BYTES = 16_384 + 256;
/** Types of TLS records: a change of cipher, an alert, a handshake message in clear, and everything that is encrypted. */
const RECORD_TYPES: readonly number[] = [20, 21, 22, 23];
const HANDSHAKE = 22;
const ENCRYPTED = 23;

/** See the header. */
export class RecordingProxy implements AsyncDisposable {
  readonly #server: net.Server;
  /** One for each connection and direction. */
  readonly #flows: Buffer[][] = [];
  connections = 0;

  /** Listens on a unix socket's path or on any port of 127.0.0.1. */
  static async start(at: { readonly path: string } | 'tcp', target: net.NetConnectOpts): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(target);
    proxy.#server.listen(at === 'tcp' ? { host: '127.0.0.1', port: 0 } : at);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  private constructor(target: net.NetConnectOpts) {
    this.#server = net.createServer({ allowHalfOpen: true }, (from) => {
      this.connections += 1;
      const to = net.connect({ ...target, allowHalfOpen: true });
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const) {
        const flow: Buffer[] = [];
        this.#flows.push(flow);
        one.on('data', (chunk: Buffer) => flow.push(chunk));
        one.on('error', () => other.destroy());
        one.pipe(other);
      }
    });
  }

  /** Where a source is to connect. */
  get uri(): string {
    const at = this.#server.address();
    return typeof at === 'string' ? `unix:${at}` : `tcp:127.0.0.1:${at?.port}`;
  }

  /** What went over the wire, one piece for each connection and direction. */
  get flows(): readonly Buffer[] {
    return this.#flows.map((chunks) => Buffer.concat(chunks));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
  }
}

/** Bytes in each kind of TLS record of a flow. Throws at the first byte that is in none, and at one in clear after the handshake. */
export function tlsRecords(flow: Buffer): { handshakeBytes: number; encryptedBytes: number } {
  const sums = { handshakeBytes: 0, encryptedBytes: 0 };
  for (let at = 0; at < flow.length; ) {
    const type = flow[at]!;
    const length = at + RECORD_HEADER_BYTES <= flow.length ? flow.readUInt16BE(at + 3) : HIGHEST_RECORD_BYTES + 1;
    const isRecord = RECORD_TYPES.includes(type) && flow[at + 1] === 3 && length <= HIGHEST_RECORD_BYTES;
    const isWhole = at + RECORD_HEADER_BYTES + length <= flow.length;
    if (!isRecord || !isWhole) throw new Error(`no TLS record at byte ${at} of ${flow.length}`);
    if (type === HANDSHAKE && sums.encryptedBytes > 0) throw new Error(`in clear after the handshake, at byte ${at}`);
    if (type === HANDSHAKE) sums.handshakeBytes += length;
    if (type === ENCRYPTED) sums.encryptedBytes += length;
    at += RECORD_HEADER_BYTES + length;
  }
  return sums;
}
