/** The return path: messages from destination to source on the same socket (spec/wire.md §3). */

import { assert } from '../base/assert.ts';
import { HarnessError } from '../base/errors.ts';
import { EXTENSION, type ExtensionName } from '../wire/extension.ts';
import { LIMITS } from '../wire/limits.ts';
import { PAGE_SIZE } from '../wire/ram.ts';
import { RETURN_PATH, type ReturnPathName } from '../wire/stream.ts';
import { struct, u16 } from '../wire/struct.ts';
import { ByteWriter } from '../wire/writer.ts';
import type { ByteSink, ByteSource } from './transport/channel.ts';
import { latin1, StreamReader } from './transport/stream-reader.ts';

const HEADER = struct([u16('type'), u16('length')]);
const EXTENSION_NAMES = new Map<number, ExtensionName>(
  Object.entries(EXTENSION).map(([name, row]) => [row.type, name as ExtensionName]),
);
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
    await this.sendMessage(RETURN_PATH[name].type, data);
  }

  /** A message by its number, for extensions. */
  async sendMessage(type: number, data: Uint8Array): Promise<void> {
    await this.addMessage(type, data);
    await this.#sink.flush();
  }

  /** The same for one that goes with the next that is sent. */
  async addMessage(type: number, data: Uint8Array): Promise<void> {
    await this.#sink.write(
      new ByteWriter()
        .bytes(HEADER.encode({ type, length: data.length }))
        .bytes(data)
        .take(),
    );
  }

  async sendU32(name: 'SHUT' | 'PONG' | 'RESUME_ACK', value: number): Promise<void> {
    await this.send(name, new ByteWriter().u32(value).take());
  }
}

/** A RAM block as requests name it. */
interface PageOwner {
  readonly name: string;
  /** Bytes. */
  readonly length: number;
}

/** What the source hears. */
export interface ReturnPathListener {
  pong(value: number): void;
  /** May throw: then it was one too many. */
  switchoverAck(): void;
  /** A message that only another Switchover sends; throws when it may not come. */
  extension(name: ExtensionName, data: Uint8Array, at: number): void;
}

/**
 * The source's end: reads messages until SHUT. Resolves on SHUT 0; rejects with `migration/peer-failed` on another SHUT,
 * `migration/return-path` on a bad message, `transport/closed` when the connection ends without SHUT.
 */
export async function readReturnPath(options: {
  source: ByteSource;
  uri: string;
  /** The RAM blocks a destination may ask pages of. */
  blocks: readonly PageOwner[];
  listener: ReturnPathListener;
}): Promise<void> {
  const reader = new StreamReader(options.source);
  reader.section = 'return path';
  let asked: PageOwner | undefined;
  for (;;) {
    if (reader.available === 0 && !(await reader.fill())) {
      throw new HarnessError('transport/closed', {
        uri: options.uri,
        at: reader.offset,
        why: 'the destination closed the return path without a final status',
      });
    }
    const at = reader.offset;
    const { extension, name, data } = await readMessage(reader);
    if (extension !== undefined) {
      options.listener.extension(extension, data, at);
      continue;
    }
    switch (name) {
      case 'SHUT': {
        const status = viewOf(data).getUint32(0);
        if (status === 0) return;
        throw new HarnessError('migration/peer-failed', {
          what: `it could not load the stream (status ${status}); see its own log`,
        });
      }
      case 'PONG':
        options.listener.pong(viewOf(data).getUint32(0));
        break;
      case 'SWITCHOVER_ACK':
        options.listener.switchoverAck();
        break;
      case 'REQ_PAGES_ID':
        asked = namedBlock(at, data, options.blocks);
        checkRange(at, data, asked); // harmless in precopy: the pages are sent anyway
        break;
      case 'REQ_PAGES':
        if (asked === undefined) throw bad(at, 'REQ_PAGES', 'a REQ_PAGES_ID before it', 'none');
        checkRange(at, data, asked);
        break;
      case 'RESUME_ACK': {
        const value = viewOf(data).getUint32(0);
        if (value !== 1) throw bad(at, 'RESUME_ACK', '1', `${value}`);
        break;
      }
      case 'RECV_BITMAP':
        throw bad(at, 'RECV_BITMAP', 'no bitmap outside of a recovery', 'one');
      default:
        name satisfies never;
    }
  }
}

type Message =
  | { readonly extension?: undefined; readonly name: ReturnPathName; readonly data: Uint8Array }
  | { readonly extension: ExtensionName; readonly name?: undefined; readonly data: Uint8Array };

async function readMessage(reader: StreamReader): Promise<Message> {
  const at = reader.offset;
  const type = await reader.u16('message type');
  const length = await reader.u16('message length');
  const extension = EXTENSION_NAMES.get(type);
  const name = NAMES.get(type);
  const called = extension ?? name;
  if (called === undefined) throw bad(at, 'message type', '1 to 7', `${type}`);
  if (length > LIMITS.RETURN_PATH_BYTES)
    throw bad(at, `length of ${called}`, `at most ${LIMITS.RETURN_PATH_BYTES}`, `${length}`);
  const fixed = name === undefined ? undefined : RETURN_PATH[name].length;
  if (fixed !== undefined && fixed !== length) throw bad(at, `length of ${called}`, `${fixed}`, `${length}`);
  const data = await reader.bytes(length, called);
  if (extension !== undefined) return { extension, data };
  assert(name !== undefined, 'a message has one name or the other');
  return { name, data };
}

/** Bytes of a request before the block's name: u64 start, u32 length, u8 length of the name. */
const NAME_OFFSET = 13;

function namedBlock(at: number, data: Uint8Array, blocks: readonly PageOwner[]): PageOwner {
  if (data.length < NAME_OFFSET || data[NAME_OFFSET - 1] !== data.length - NAME_OFFSET) {
    const expected = `${NAME_OFFSET} and ${data[NAME_OFFSET - 1] ?? 'the name'}`;
    throw bad(at, 'length of REQ_PAGES_ID', expected, `${data.length}`);
  }
  const name = latin1(data.subarray(NAME_OFFSET));
  const found = blocks.find((block) => block.name === name);
  if (found !== undefined) return found;
  throw bad(at, 'RAM block of REQ_PAGES_ID', blocks.map((block) => block.name).join(', '), `'${name}'`);
}

function checkRange(at: number, data: Uint8Array, block: PageOwner): void {
  const start = viewOf(data).getBigUint64(0);
  const length = viewOf(data).getUint32(8);
  if (start % BigInt(PAGE_SIZE) !== 0n || length % PAGE_SIZE !== 0) {
    throw bad(at, 'requested pages', `whole pages of ${PAGE_SIZE} bytes`, `${length} bytes at ${start}`);
  }
  if (start + BigInt(length) > BigInt(block.length)) {
    throw bad(
      at,
      'requested pages',
      `pages within the ${block.length} bytes of '${block.name}'`,
      `${length} bytes at ${start}`,
    );
  }
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

function bad(at: number, field: string, expected: string, actual: string): HarnessError {
  return new HarnessError('migration/return-path', { at, field, expected, actual });
}
