/** What was read ahead to see the end is read again by whoever wants it, once and in order. */

import { expect, test } from 'vitest';
import { WatchedSource } from '../../../src/migration/multifd/watched-source.ts';
import type { ByteSource } from '../../../src/migration/transport/channel.ts';
import { ERRNO } from '../../../src/threads/native.ts';
import { settled } from '../../support/settled.ts';

/** A source that brings what `say` says, with a native read that has 5 bytes whenever it is asked. */
function scripted() {
  const said: Uint8Array[] = [];
  let wanted: (() => void) | undefined;
  const source: ByteSource = {
    read: async (into) => {
      while (said.length === 0) await new Promise<void>((resolve) => (wanted = resolve));
      const [first = new Uint8Array(0)] = said.splice(0, 1);
      into.set(first);
      return first.length;
    },
    readv: () => 5,
  };
  const say = (text: string) => {
    said.push(Buffer.from(text));
    wanted?.();
  };
  return { source, say };
}

async function readText(source: ByteSource, length: number): Promise<string> {
  const into = Buffer.alloc(length);
  return into.toString('latin1', 0, await source.read(into));
}

test('an end is seen, and everything before it is there afterwards', async () => {
  const { source, say } = scripted();
  const watched = new WatchedSource(source, 100);
  const end = watched.end();
  say('one');
  say('two');
  say('');
  expect(await end).toBe(true);
  expect(watched.aheadBytes).toBe(6);
  expect(await readText(watched, 2)).toBe('on');
  expect(await readText(watched, 9)).toBe('e');
  expect(await readText(watched, 9)).toBe('two');
  expect(await readText(watched, 9)).toBe('');
  expect(watched.readv?.(0, 1)).toBe(-ERRNO.EAGAIN);
});

test('a read that the watch began is finished first, then reads go through', async () => {
  const { source, say } = scripted();
  const watched = new WatchedSource(source, 100);
  const end = watched.end();
  const text = readText(watched, 9);
  expect(watched.readv?.(0, 1)).toBe(-ERRNO.EAGAIN);
  expect(await settled(text)).toBe('pending');
  say('first');
  expect([await text, await end]).toEqual(['first', false]);
  expect(watched.readv?.(0, 1)).toBe(5);
  say('second');
  expect(await readText(watched, 9)).toBe('second');
});

test('no more is read ahead than may be', async () => {
  const { source, say } = scripted();
  const watched = new WatchedSource(source, 4);
  for (const text of ['abc', 'def', 'ghi']) say(text);
  expect(await watched.end()).toBe(false);
  expect(watched.aheadBytes).toBe(6);
  expect([await readText(watched, 9), await readText(watched, 9), await readText(watched, 9)]).toEqual([
    'abc',
    'def',
    'ghi',
  ]);
});

test('what the source fails with, both hear', async () => {
  const source: ByteSource = { readv: undefined, read: () => Promise.reject(new Error('reset')) };
  const watched = new WatchedSource(source, 100);
  expect(watched.readv).toBeUndefined();
  await expect(watched.end()).rejects.toThrow('reset');
  await expect(watched.read(new Uint8Array(9))).rejects.toThrow('reset');
});
