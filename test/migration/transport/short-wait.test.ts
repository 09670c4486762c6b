import net from 'node:net';
import { describe, expect, it } from 'vitest';
import { ShortWait } from '../../../src/migration/transport/short-wait.ts';
import { descriptorOf } from '../../../src/migration/transport/socket-channel.ts';
import { native } from '../../../src/threads/native.ts';
import { tempDir } from '../../support/temp.ts';

/** How many waits go by until one asks, for each of the next `count` that ask. */
function gaps(wait: ShortWait, asked: () => number, count: number): number[] {
  const found: number[] = [];
  let since = 0;
  let before = asked();
  while (found.length < count) {
    wait.isReadySoon();
    since += 1;
    if (asked() === before) continue;
    before = asked();
    found.push(since);
    since = 0;
  }
  return found;
}

describe('short waits', () => {
  it('ask about every wait once the peer keeps up', () => {
    let asked = 0;
    const wait = new ShortWait(() => {
      asked += 1;
      return true;
    });
    expect(gaps(wait, () => asked, 4)).toEqual([17, 1, 1, 1]);
  });

  it('get rarer with each that was in vain, up to one in 256', () => {
    let asked = 0;
    const wait = new ShortWait(() => {
      asked += 1;
      return false;
    });
    expect(gaps(wait, () => asked, 6)).toEqual([17, 34, 68, 136, 256, 256]);
  });

  it.runIf(native !== undefined)('see on a real socket what can be read and written', async () => {
    await using dir = await tempDir();
    const server = net.createServer({ pauseOnConnect: true }).listen(dir.file('s'));
    const client = net.connect(dir.file('s'));
    const accepted = await new Promise<net.Socket>((resolve) => server.once('connection', resolve));
    try {
      const fd = descriptorOf(accepted);
      const atLast = (wait: ShortWait) => Array.from({ length: 17 }, () => wait.isReadySoon()).at(-1);
      expect(atLast(ShortWait.forWriting(fd))).toBe(true);
      expect(atLast(ShortWait.forReading(fd))).toBe(false);
      await new Promise<void>((resolve) => client.write('x', () => resolve()));
      expect(atLast(ShortWait.forReading(fd))).toBe(true);
    } finally {
      for (const open of [client, accepted, server]) 'destroy' in open ? open.destroy() : open.close();
    }
  });
});
