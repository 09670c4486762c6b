/** The return path: messages from destination to source on the same socket (spec/wire.md §3). */

import { HarnessError } from '../base/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { RETURN_PATH, type ReturnPathName } from '../wire/stream.ts';
import { struct, u16 } from '../wire/struct.ts';
import { ByteWriter } from '../wire/writer.ts';
import type { ByteSink, ByteSource } from './transport/channel.ts';
import { StreamReader } from './transport/stream-reader.ts';

const HEADER = struct([u16('type'), u16('length')]);
const NAMES = new Map<number, ReturnPathName>(
  Object.entries(RETURN_PATH).map(([name, row]) => [row.type, name as ReturnPathName]),
);

/** The destination's end. */
export class ReturnPathWriter {
  readonly #sink: ByteSink;

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  async send(name: ReturnPathName, data: Uint8Array = new Uint8Array(0)): Promise<void> {
    await this.#sink.write(
      new ByteWriter()
        .bytes(HEADER.encode({ type: RETURN_PATH[name].type, length: data.length }))
        .bytes(data)
        .take(),
    );
    await this.#sink.flush();
  }

  async sendU32(name: 'SHUT' | 'PONG' | 'RESUME_ACK', value: number): Promise<void> {
    await this.send(name, new ByteWriter().u32(value).take());
  }
}

/** What the source hears. */
export interface ReturnPathListener {
  pong(value: number): void;
  switchoverAck(): void;
}

/**
 * The source's end: reads messages until SHUT. Resolves on SHUT 0; rejects with `migration/peer-failed` on another SHUT,
 * `migration/return-path` on a bad message, `transport/closed` when the connection ends without SHUT.
 */
export async function readReturnPath(options: {
  source: ByteSource;
  uri: string;
  blockNames: ReadonlySet<string>;
  listener: ReturnPathListener;
}): Promise<void> {
  const reader = new StreamReader(options.source);
  reader.section = 'return path';
  let anyBlock = false;
  for (;;) {
    if (reader.available === 0 && !(await reader.fill())) {
      throw new HarnessError('transport/closed', {
        uri: options.uri,
        at: reader.offset,
        why: 'the destination closed the return path without a final status',
      });
    }
    const at = reader.offset;
    const { type, length } = await reader.struct(HEADER);
    const name = NAMES.get(type);
    if (name === undefined) throw bad(at, 'message type', '1 to 7', `${type}`);
    if (length > LIMITS.RETURN_PATH_BYTES)
      throw bad(at, `length of ${name}`, `at most ${LIMITS.RETURN_PATH_BYTES}`, `${length}`);
    const fixed = RETURN_PATH[name].length;
    if (fixed !== undefined && fixed !== length) throw bad(at, `length of ${name}`, `${fixed}`, `${length}`);
    const data = await reader.bytes(length, name);
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    switch (name) {
      case 'SHUT': {
        const status = view.getUint32(0);
        if (status === 0) return;
        throw new HarnessError('migration/peer-failed', {
          what: `it could not load the stream (status ${status}); see its own log`,
        });
      }
      case 'PONG':
        options.listener.pong(view.getUint32(0));
        break;
      case 'SWITCHOVER_ACK':
        options.listener.switchoverAck();
        break;
      case 'REQ_PAGES_ID': {
        const block = length > 13 ? Buffer.from(data.subarray(13)).toString('latin1') : '';
        if (length < 13 || data[12] !== length - 13)
          throw bad(at, 'length of REQ_PAGES_ID', `13 + ${data[12] ?? '?'}`, `${length}`);
        if (!options.blockNames.has(block))
          throw bad(at, 'RAM block of REQ_PAGES_ID', [...options.blockNames].join(', '), `'${block}'`);
        anyBlock = true; // harmless in precopy: the page is sent anyway
        break;
      }
      case 'REQ_PAGES':
        if (!anyBlock) throw bad(at, 'REQ_PAGES', 'a REQ_PAGES_ID before it', 'none');
        break;
      case 'RESUME_ACK':
        if (view.getUint32(0) !== 1) throw bad(at, 'RESUME_ACK', '1', `${view.getUint32(0)}`);
        break;
      case 'RECV_BITMAP':
        throw bad(at, 'RECV_BITMAP', 'no bitmap outside of a recovery', 'one');
      default:
        name satisfies never;
    }
  }
}

function bad(at: number, field: string, expected: string, actual: string): HarnessError {
  return new HarnessError('migration/return-path', { at, field, expected, actual });
}
