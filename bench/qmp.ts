/**
 * How fast is QMP: one command's round trip, idle and while a migration runs as fast as it can, and commands per second
 * on one monitor? The client is a bare socket, so that what is measured is the server; QEMU beside ours.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PeerKind } from '../test/support/peer.ts';
import { startPeer } from '../test/support/switchover-vm.ts';
import { tempDir } from '../test/support/temp.ts';
import { CONTENTS, type Content, writeContent } from './support/content.ts';
import { medianOf } from './support/statistics.ts';
import { type ValueRow, valueBench } from './support/values.ts';

const SEED = 1;
const MEMORY_BYTES = 1024 ** 3;
const IDLE_ROUND_TRIPS = 500;
/** Between two commands of a client that watches a migration. */
const PAUSE_MS = 1;
const COMMANDS = 20_000;
/** Sent before replies are read; a monitor must not need more to be busy all the time. */
const OUTSTANDING = 100;
const LINE = '{"execute": "query-status"}\n';
const NEWLINE = 0x0a;

const KINDS = { qemu: 'qemu', ours: 'switchover' } as const;

/** The benchmark behind `npm run bench -- qmp`. */
export const qmpBench = valueBench({
  question: 'QMP: round trips, idle and during a migration at full speed, and commands per second, beside QEMU',
  defaultPairs: 5,
  rows: {
    ...pair('idle', 'ms', { atMost: 1 }, (kind) => withMonitor(kind, {}, idleRoundTrip)),
    ...pair('migrating', 'ms', { atMost: 1 }, migratingRoundTrip),
    ...pair('rate', '1/s', { atLeast: 10_000 }, (kind) => withMonitor(kind, {}, commandsPerSecond)),
  },
});

function pair(
  name: string,
  unit: string,
  bar: NonNullable<ValueRow['bar']>,
  measure: (kind: PeerKind) => Promise<number>,
): Record<string, ValueRow> {
  return {
    [`${name}-qemu`]: { unit, measure: () => measure(KINDS.qemu) },
    [`${name}-ours`]: { unit, bar, measure: () => measure(KINDS.ours) },
  };
}

/** A negotiated connection that counts the lines that come. */
class BareMonitor implements Disposable {
  readonly #socket: Socket;
  #lines = 0;
  #wake = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) this.#lines += 1;
      this.#wake();
    });
  }

  static async open(path: string): Promise<BareMonitor> {
    const monitor = new BareMonitor(connect({ path }));
    await monitor.#until(1);
    await monitor.roundTrip('{"execute": "qmp_capabilities"}\n');
    return monitor;
  }

  /** Milliseconds from sending one command until its reply is there. */
  async roundTrip(line = LINE): Promise<number> {
    const start = performance.now();
    const wanted = this.#lines + 1;
    this.#socket.write(line);
    await this.#until(wanted);
    return performance.now() - start;
  }

  /** Milliseconds for so many commands. */
  async flood(commands: number): Promise<number> {
    const start = performance.now();
    const before = this.#lines;
    for (let sent = 0; sent < commands; sent += OUTSTANDING / 2) {
      this.#socket.write(LINE.repeat(OUTSTANDING / 2));
      await this.#until(before + sent - OUTSTANDING / 2);
    }
    await this.#until(before + commands);
    return performance.now() - start;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  async #until(lines: number): Promise<void> {
    while (this.#lines < lines) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

async function withMonitor(
  kind: PeerKind,
  options: { readonly content?: Content },
  measure: (monitor: BareMonitor, peer: Awaited<ReturnType<typeof startPeer>>) => Promise<number>,
): Promise<number> {
  await using directory = await tempDir();
  const socket = directory.file('second');
  const memory = options.content === undefined ? '64M' : `${options.content.memoryBytes / 1024 ** 2}M`;
  const args = ['-qmp', `unix:${socket},server=on,wait=off`, ...(options.content?.loaderArgs ?? [])];
  await using peer = await startPeer(kind, { memory, args });
  using monitor = await BareMonitor.open(socket);
  return await measure(monitor, peer);
}

async function idleRoundTrip(monitor: BareMonitor): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < IDLE_ROUND_TRIPS; n += 1) {
    times.push(await monitor.roundTrip());
    await sleep(PAUSE_MS);
  }
  return medianOf(times);
}

async function commandsPerSecond(monitor: BareMonitor): Promise<number> {
  await monitor.flood(COMMANDS / 10); // code that runs for the first time is slow
  return COMMANDS / ((await monitor.flood(COMMANDS)) / 1000);
}

/** Between two machines of one kind, over TCP, without a limit: random RAM, from the first byte to the last. */
async function migratingRoundTrip(kind: PeerKind): Promise<number> {
  const content = await randomRam();
  return await withMonitor(kind, { content }, async (monitor, source) => {
    await using directory = await tempDir();
    const incoming = `unix:${directory.file('migrate')}`;
    await using destination = await startPeer(kind, { memory: `${MEMORY_BYTES / 1024 ** 2}M`, incoming });
    await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    let isOver = false;
    const ending = destination.waitStatus('completed', 60_000).then(() => {
      isOver = true;
    });
    await source.qmp.execute('migrate', { uri: incoming });
    const times: number[] = [];
    while (!isOver) {
      times.push(await monitor.roundTrip());
      await sleep(PAUSE_MS);
    }
    await ending;
    return medianOf(times);
  });
}

let random: Promise<Content> | undefined;

function randomRam(): Promise<Content> {
  if (random === undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'switchover-bench-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    random = writeContent({ directory, name: 'random', memoryBytes: MEMORY_BYTES, mix: CONTENTS.random, seed: SEED });
  }
  return random;
}
