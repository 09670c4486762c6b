/**
 * A channel that is closed after so many bytes, in every field of its greeting and of its packets, on either side: the
 * source's guest runs on, the error names the channel, and at the destination the very byte and field.
 */

import { describe, expect, test } from 'vitest';
import { MULTIFD_HELLO, PACKET_START, RAM_PACKET_BYTES, RAM_PACKET_REST } from '../../src/wire/multifd.ts';
import { PAGE_SIZE } from '../../src/wire/ram.ts';
import {
  expectNextSucceeds,
  expectNothingLeftBehind,
  failure,
  listener,
  OPTIONS,
  runningSource,
  takeOnly,
} from '../support/channel-faults.ts';
import { packetsOf, play, recordedMultifd } from '../support/multifd-streams.ts';
import { recordedStream } from '../support/recorded-stream.ts';
import { cutsIn, type FieldSpan, spansOf } from '../support/struct-spans.ts';
import { tempDir } from '../support/temp.ts';
import { WatchedVm } from '../support/watched-vm.ts';

/** The fields of the packet that begins at `base` and has so much data. */
function packetSpans(base: number, dataBytes: number): FieldSpan[] {
  const table = PACKET_START.size + RAM_PACKET_REST.size;
  const header = [...spansOf(PACKET_START, base), ...spansOf(RAM_PACKET_REST, base + PACKET_START.size)];
  const rest = [
    { name: 'table of offsets', at: base + table, length: RAM_PACKET_BYTES - table },
    { name: 'page data', at: base + RAM_PACKET_BYTES, length: dataBytes },
  ];
  return [...header, ...rest.filter(({ length }) => length > 0)];
}

/** The first packet of a channel is the SYNC of the setup, the second has pages. */
const SYNC_AT = MULTIFD_HELLO.size;
const PAGES_AT = SYNC_AT + RAM_PACKET_BYTES;
const PARTS = [
  { part: 'its greeting', cuts: cutsIn(spansOf(MULTIFD_HELLO)) },
  { part: 'its SYNC packet', cuts: cutsIn(packetSpans(SYNC_AT, 0)) },
  { part: 'a packet of pages', cuts: cutsIn(packetSpans(PAGES_AT, 128 * PAGE_SIZE)) },
] as const;

/**
 * Without a return path a source waits for nobody's account of what went wrong; so there is more in RAM than the kernel takes
 * from a source whose peer has gone.
 */
const RAM_BYTES = 48 << 20;
const ALONE = {
  ...OPTIONS,
  ramBytes: RAM_BYTES,
  content: new Uint8Array(RAM_BYTES).fill(7),
  capabilities: ['multifd'],
};

test('there is a cut in every field', () => {
  expect(PARTS.map(({ cuts }) => new Set(cuts.map(({ field }) => field)).size)).toEqual([5, 11, 12]);
});

describe('a source', () => {
  expectNothingLeftBehind();

  describe.for([1, 2, 3])('whose connection %i is closed', (cutOrdinal) => {
    test.for(PARTS)('anywhere in $part, over unix', async ({ cuts }) => {
      await using dir = await tempDir();
      await using source = await runningSource(ALONE);
      for (const { length } of cuts) {
        const path = dir.file(`m${length}`);
        const taken = Promise.withResolvers<Buffer>();
        await using _server = await listener({ path }, (socket, ordinal) => {
          if (ordinal === cutOrdinal) taken.resolve(takeOnly(socket, length));
          else socket.resume();
        });
        const text = await failure(source, `unix:${path}`);
        const bytes = await taken.promise;
        // Which channel it was, its greeting says, if there was so much of it.
        const id = bytes.length > 24 ? `${MULTIFD_HELLO.decode(bytes.subarray(0, 64)).id}` : '[012]';
        expect(text, `after ${length} bytes`).toMatch(new RegExp(`'unix:.*\\(multifd channel ${id}\\)'`));
      }
      await expectNextSucceeds(source, dir, ALONE);
    });
  });

  test.for(PARTS)('whose second channel is closed anywhere in $part, over tcp', async ({ cuts }) => {
    await using dir = await tempDir();
    await using source = await runningSource(ALONE);
    for (const { length } of cuts) {
      await using server = await listener({ host: '127.0.0.1', port: 0 }, (socket, ordinal) => {
        if (ordinal === 2) void takeOnly(socket, length);
        else socket.resume();
      });
      const { port } = server.address() as { port: number };
      const text = await failure(source, `tcp:127.0.0.1:${port}`);
      expect(text, `after ${length} bytes`).toMatch(/'tcp:.*\(multifd channel [0-2]\)'/);
    }
    await expectNextSucceeds(source, dir, ALONE);
  });
});

describe('a destination', () => {
  const RECORDED_BYTES = recordedStream('none-4m.ram.zz').length;
  const { main, channels } = recordedMultifd('none');
  const dataBytes = packetsOf(channels[1]!)[1]!.data.length;
  const RECEIVED_PARTS = [
    { part: 'its greeting', cuts: cutsIn(spansOf(MULTIFD_HELLO)) },
    { part: 'its SYNC packet', cuts: cutsIn(packetSpans(SYNC_AT, 0)) },
    { part: 'a packet of pages', cuts: cutsIn(packetSpans(PAGES_AT, dataBytes)) },
  ] as const;

  expectNothingLeftBehind();

  test.for(RECEIVED_PARTS)('whose channel ends anywhere in $part names the field and the byte', async ({ cuts }) => {
    await using dir = await tempDir();
    for (const { length, field } of cuts) {
      const path = dir.file(`m${length}`);
      await using waiting = await WatchedVm.start({
        ramBytes: RECORDED_BYTES,
        incoming: `unix:${path}`,
        capabilities: ['multifd'],
      });
      const sockets = await play(path, [main, channels[0]!, channels[1]!.subarray(0, length)]);
      sockets[2]!.end();
      expect(await waiting.ended()).toBe('failed');
      for (const socket of sockets) socket.destroy();
      const text = waiting.vm.queryMigrate()['error-desc'];
      expect(text).toContain(expectedText(length, field));
      expect(waiting.vm.queryStatus().status).toBe('inmigrate');
    }
  });
});

/** What a destination says of a channel 1, connection 3, that ended there. */
function expectedText(length: number, field: string): string {
  const at = `at byte ${length} (0x${length.toString(16)})`;
  if (length < SYNC_AT) return `stream truncated ${at}, greeting of connection 3, reading ${field}`;
  // Between two packets it may end; it is missed only where it is waited for.
  if (length === SYNC_AT || length === PAGES_AT) return `(multifd channel 1)' closed after ${length} bytes`;
  return `stream truncated ${at}, multifd channel 1, packet ${length < PAGES_AT ? 0 : 1}, reading ${field}`;
}
