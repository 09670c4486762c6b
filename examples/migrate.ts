/** Two machines in one process: a guest that keeps writing moves from one to the other over a unix socket. */

import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationOptions, parseGuestOption, silentLogger, Vm } from '../src/index.ts';

const machine = (config: { incoming?: string } = {}) =>
  Vm.create({
    machineType: 'harness',
    ramBytes: 64 * 1024 * 1024,
    guests: [parseGuestOption('guest-sweep,id=g0,rate=50MiB')],
    startPaused: false,
    options: new MigrationOptions(),
    log: silentLogger,
    ...config,
  });

const uri = `unix:/tmp/switchover-example-${process.pid}`;
const signal = AbortSignal.timeout(10_000);
await using source = await machine();
await using destination = await machine({ incoming: uri });

while (source.ram.isUnwritten(1)) await sleep(20, undefined, { signal }); // until the guest has begun
await source.migrate({ uri });
while (destination.queryStatus().status !== 'running') await sleep(20, undefined, { signal });
await destination.stop();

console.log(source.queryMigrate(), destination.checkGuests());
