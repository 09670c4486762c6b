/** A wire between a source and a destination's unix socket: it passes every connection on, and can be cut or held up. */

import { once } from 'node:events';
import net from 'node:net';

interface Strand {
  readonly from: net.Socket;
  readonly to: net.Socket;
}

/** See the header. Disposal cuts it. */
export class Wire implements AsyncDisposable {
  readonly uri: string;
  readonly #server: net.Server;
  readonly #strands: Strand[] = [];
  readonly #held = new Map<number, { readonly chunks: Buffer[]; ended: boolean }>();
  /** Bytes that connections let through before they break. */
  readonly #limits = new Map<number, number>();
  #bytes = 0;

  /** Listens at `path` for connections that are to go to the unix socket `target`. */
  static async open(path: string, target: string): Promise<Wire> {
    const wire = new Wire(path, target);
    wire.#server.listen(path);
    await once(wire.#server, 'listening');
    return wire;
  }

  private constructor(path: string, target: string) {
    this.uri = `unix:${path}`;
    this.#server = net.createServer({ allowHalfOpen: true }, (from) => {
      const to = net.connect({ path: target, allowHalfOpen: true });
      this.#connect(this.#strands.length, from, to);
    });
  }

  /** Connections so far. */
  get connections(): number {
    return this.#strands.length;
  }

  /** Bytes that came from the source so far, held ones included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Connection `ordinal` (the first is 0) lets `count` bytes of the source through, not one more, and then ends for both. */
  cutAfter(ordinal: number, count: number): void {
    this.#limits.set(ordinal, count);
  }

  /** From now on, what comes over connection `ordinal` (the first is 0) goes nowhere until `release`. */
  hold(ordinal: number): void {
    this.#held.set(ordinal, { chunks: [], ended: false });
  }

  /** Lets go what was held of one connection, or of all. */
  release(...ordinals: readonly number[]): void {
    for (const ordinal of ordinals.length === 0 ? [...this.#held.keys()] : ordinals) {
      const held = this.#held.get(ordinal);
      this.#held.delete(ordinal);
      const to = this.#strands[ordinal]?.to;
      for (const chunk of held?.chunks ?? []) to?.write(chunk);
      if (held?.ended === true) to?.end();
    }
  }

  /** Breaks all connections, or only the last one, on both sides. */
  cut(which: 'all' | 'last'): void {
    for (const { from, to } of which === 'all' ? this.#strands : this.#strands.slice(-1)) {
      from.destroy();
      to.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut('all');
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #connect(ordinal: number, from: net.Socket, to: net.Socket): void {
    this.#strands.push({ from, to });
    // Whoever breaks a connection breaks it for both.
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    let left = this.#limits.get(ordinal) ?? Number.POSITIVE_INFINITY;
    if (left === 0) from.destroy();
    from.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (chunk.length >= left) {
        to.end(chunk.subarray(0, left), () => from.destroy());
        left = 0;
        return;
      }
      left -= chunk.length;
      const held = this.#held.get(ordinal);
      if (held !== undefined) held.chunks.push(chunk);
      else if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => {
      const held = this.#held.get(ordinal);
      if (held !== undefined) held.ended = true;
      else to.end();
    });
    to.pipe(from);
  }
}
