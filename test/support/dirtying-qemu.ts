/**
 * A real QEMU whose RAM is written to, again and again, as a busy guest would, and one that it can migrate to. What writes is
 * qtest (QEMU's own test socket), as the processor halts at once.
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { Peer } from './peer.ts';
import { startQemu } from './qemu.ts';
import { connectQtest, writeHaltingBios } from './qtest-socket.ts';
import { tempDir } from './temp.ts';

/** What is written to, in bytes. */
export interface WrittenRegion {
  readonly startByte: number;
  readonly sizeBytes: number;
}

/** See the header. */
export interface DirtyingQemu extends AsyncDisposable {
  readonly source: Peer;
  readonly destination: Peer;
}

/** Milliseconds from one write of the whole region to the next. */
const PAUSE_MS = 50;

/** Starts both; the source runs, and its region is written to until the end. */
export async function dirtyingQemu(region: WrittenRegion): Promise<DirtyingQemu> {
  const dir = await tempDir();
  const bios = await writeHaltingBios(dir.file('halt.bin'));
  const machine = { memory: '32M', machine: 'isapc', args: ['-bios', bios] };
  const destination = await startQemu({ ...machine, incoming: 'defer' });
  const path = dir.file('qtest');
  const args = [...machine.args, '-qtest', `unix:${path},server=on,wait=off`];
  const source = await startQemu({ ...machine, running: true, args });
  const qtest = connectQtest(path);
  const end = new AbortController();
  const writing = (async () => {
    for (let value = 1; !end.signal.aborted; value = (value % 255) + 1) {
      await qtest.ask(`memset ${region.startByte} ${region.sizeBytes} ${value}`);
      await delay(PAUSE_MS);
    }
  })();
  return {
    source,
    destination,
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await writing;
      qtest.close();
      for (const peer of [source, destination]) await peer[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}
