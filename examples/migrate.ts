/** Two machines in one process: a guest that keeps writing moves from one to the other over a unix socket. */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationOptions, parseGuestOption, silentLogger, Vm } from '../src/index.ts';

const machine = (config: { startPaused: boolean; incoming?: string }) =>
  Vm.create({
    machineType: 'harness',
    ramBytes: 64 * 1024 * 1024,
    guests: [parseGuestOption('guest-sweep,id=g0,rate=50MiB')],
    options: new MigrationOptions(),
    log: silentLogger,
    ...config,
  });

const uri = `unix:${join(tmpdir(), `switchover-example-${process.pid}`)}`;
await using source = await machine({ startPaused: false });
await using destination = await machine({ startPaused: false, incoming: uri });

await source.migrate({ uri });
while (destination.queryStatus().status !== 'running') await sleep(20);
await destination.stop();

console.log(source.queryMigrate());
console.log(destination.checkGuests());
