/** A source with VFIO devices and a peer that acknowledges as it likes: the error says what was wrong, and the guest goes on. */

import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { expectGuestGoesOn } from '../../support/running-guest.ts';
import { tempDir } from '../../support/temp.ts';
import { ACK, GUEST, vfioConfigs } from '../../support/vfio-pair.ts';
import { WatchedVm } from '../../support/watched-vm.ts';

const ONE_ACK = Buffer.from('00070000', 'hex');
/** INIT_DATA_SENT, after which an ack may come. */
const SENT = Buffer.from('ffffffffef100005', 'hex');

/** Tells of the flag wherever pieces of the stream break it. */
function afterInitialData(socket: Socket, act: () => void): void {
  let tail = Buffer.alloc(0);
  let isOver = false;
  socket.on('data', (piece: Buffer) => {
    const all = Buffer.concat([tail, piece]);
    tail = all.subarray(-SENT.length);
    if (isOver || !all.includes(SENT)) return;
    isOver = true;
    act();
  });
}

const LEGACY = { 'switchover-ack-legacy': 'on' };
const REUSABLE = { 'switchover-ack-legacy': 'off' };

test.for<
  readonly [what: string, globals: Readonly<Record<string, string>>, peer: (socket: Socket) => void, says: RegExp]
>([
  ['unsolicited, legacy', LEGACY, (socket) => socket.write(ONE_ACK), /^switchover-ack: /],
  ['unsolicited, re-usable', REUSABLE, (socket) => socket.write(ONE_ACK), /^switchover-ack: /],
  [
    'doubled, legacy',
    LEGACY,
    (socket) => afterInitialData(socket, () => socket.write(Buffer.concat([ONE_ACK, ONE_ACK]))),
    /^switchover-ack: /,
  ],
  [
    'doubled, re-usable',
    REUSABLE,
    (socket) => afterInitialData(socket, () => socket.write(Buffer.concat([ONE_ACK, ONE_ACK]))),
    /^switchover-ack: .*underflow/,
  ],
  ['with a length', LEGACY, (socket) => socket.write(Buffer.from('0007000400000000', 'hex')), /return-path message/],
])('an ack that is %s', async ([, globals, answer, says]) => {
  await using dir = await tempDir();
  const sockets: Socket[] = [];
  await using server = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined));
    socket.resume();
    answer(socket);
  });
  server.listen(dir.file('peer'));
  await once(server, 'listening');
  const devices = await vfioConfigs(1, 'mlx5-like', { state: '256KiB' });
  await using source = await WatchedVm.start({
    machineType: 'harness',
    running: true,
    guest: GUEST,
    devices,
    capabilities: ACK,
    globals,
  });
  await source.vm.migrate({ uri: `unix:${dir.file('peer')}` });
  expect(await source.ended()).toBe('failed');
  expect(source.vm.queryMigrate()['error-desc']).toMatch(says);
  await expectGuestGoesOn(source);
  for (const socket of sockets) socket.destroy();
});
