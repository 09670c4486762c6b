/**
 * The k-th connection of a migration, the main channel being the 0th, is refused, closed as soon as it is accepted, or never
 * arrives, over unix sockets and TCP: the error names it, the source's guest runs on, nothing is left behind, and the next
 * migration succeeds.
 */

import { rename } from 'node:fs/promises';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/wire/limits.ts';
import {
  expectNextSucceeds,
  expectNothingLeftBehind,
  failure,
  listener,
  runningSource,
} from '../support/channel-faults.ts';
import { FullListener } from '../support/full-listener.ts';
import { tempDir } from '../support/temp.ts';
import { turn, turnUntil, WatchedVm } from '../support/watched-vm.ts';

const CHANNELS = 4;
const CONNECTIONS = [0, 1, 2, 3, 4];
/** More than the kernel takes from a source whose peer has gone (see cut-channels.test.ts). */
const RAM_BYTES = 48 << 20;
const OPTIONS = {
  ramBytes: RAM_BYTES,
  content: new Uint8Array(RAM_BYTES).fill(7),
  guest: 'guest-idle,id=g',
  capabilities: ['multifd'],
  parameters: { 'multifd-channels': CHANNELS },
} as const;
/** Far more than what is on its way needs to arrive. */
const TURNS = 200;

type Transport = 'unix' | 'tcp';
const CASES = (['unix', 'tcp'] as const).flatMap((transport) => CONNECTIONS.map((k) => ({ transport, k })));

/** How an error names connection `k` to this address. */
function named(uri: string, k: number): string {
  return k === 0 ? `'${uri}'` : `'${uri} (multifd channel ${k - 1})'`;
}

/** Where a listener of this transport is to be. */
function targetOf(transport: Transport, path: string) {
  return transport === 'unix' ? { path } : ({ host: '127.0.0.1', port: 0 } as const);
}

function uriOf(address: AddressInfo | string | null): string {
  return typeof address === 'string' ? `unix:${address}` : `tcp:127.0.0.1:${address?.port}`;
}

expectNothingLeftBehind();

describe('a source', () => {
  test.for(CASES)('whose connection $k is refused over $transport', async ({ transport, k }) => {
    await using dir = await tempDir();
    await using source = await runningSource(OPTIONS);
    await using server = await FullListener.start(targetOf(transport, dir.file('m')), Math.max(1, k));
    // The main channel meets what a listener that is gone leaves behind.
    if (k === 0 && transport === 'unix') await rename(dir.file('m'), dir.file('stale'));
    if (k === 0) await server[Symbol.asyncDispose]();
    const uri = k === 0 && transport === 'unix' ? `unix:${dir.file('stale')}` : server.uri;
    const failing = failure(source, uri);
    if (k > 0 && transport === 'tcp') {
      await turnUntil(() => server.unanswered === CONNECTIONS.length - k);
      server.stopListening();
    }
    const text = await failing;
    const where = uri.replace(/^\w+:/, '');
    if (k === 0 || transport === 'unix') {
      const why = k === 0 ? 'Connection refused' : 'Resource temporarily unavailable';
      expect(text).toBe(`Failed to connect to ${named(where, k)}: ${why}`);
    } else {
      // All from the k-th on are refused, in any order.
      const refused = CONNECTIONS.slice(k).map(
        (one) => `Failed to connect to ${named(where, one)}: Connection refused`,
      );
      expect(refused).toContain(text);
    }
    await expectNextSucceeds(source, dir, OPTIONS);
  });

  test.for(CASES)('whose connection $k is closed at once over $transport', async ({ transport, k }) => {
    await using dir = await tempDir();
    await using source = await runningSource(OPTIONS);
    await using server = await listener(targetOf(transport, dir.file('m')), (socket, ordinal) => {
      if (ordinal === k) socket.destroy();
      else socket.resume();
    });
    const uri = uriOf(server.address());
    const text = await failure(source, uri);
    expect(text).toContain(`connection ${named(uri, k)} `);
    await expectNextSucceeds(source, dir, OPTIONS);
  });
});

describe('a destination', () => {
  test.for(CASES)('to which connection $k never comes over $transport', async ({ transport, k }) => {
    await using dir = await tempDir();
    await using source = await runningSource(OPTIONS);
    const clock = new ManualClock();
    const { ramBytes, capabilities, parameters } = OPTIONS;
    const incoming = transport === 'unix' ? `unix:${dir.file('d')}` : 'tcp:127.0.0.1:0';
    await using destination = await WatchedVm.start({ ramBytes, capabilities, parameters, clock, incoming });
    const [address] = destination.vm.queryMigrate()['socket-address'] ?? [];
    const target =
      address?.type === 'inet' ? { host: address.host, port: Number(address.port) } : { path: dir.file('d') };
    const heard = new Set<number>();
    await using wire = await listener(targetOf(transport, dir.file('m')), (socket, ordinal) => {
      socket.once('data', () => heard.add(ordinal));
      if (ordinal === k) socket.resume();
      else relay(socket, connect(target));
    });
    const failing = failure(source, uriOf(wire.address()));
    await turnUntil(() => heard.size === CONNECTIONS.length);
    for (let turns = 0; turns < TURNS; turns += 1) await turn();
    clock.advance(LIMITS.MULTIFD_ARRIVAL_MS - 1);
    for (let turns = 0; turns < TURNS; turns += 1) await turn();
    expect(destination.vm.queryMigrate().status).toBe('setup');
    clock.advance(1);
    expect(await destination.ended()).toBe('failed');
    const missing = k === 0 ? 'the main channel' : `multifd channel ${k - 1} of ${CHANNELS}`;
    expect(destination.vm.queryMigrate()['error-desc']).toMatch(
      new RegExp(`: waited ${LIMITS.MULTIFD_ARRIVAL_MS} ms for ${missing} \\(4 connections came, 0 said nothing\\)$`),
    );
    expect(destination.vm.queryStatus().status).toBe('inmigrate');
    expect(await failing).toMatch(/^connection '(unix|tcp):/);
    await expectNextSucceeds(source, dir, OPTIONS);
  });
});

/** Passes everything on, and the end of one as the end of the other. */
function relay(from: Socket, to: Socket): void {
  from.pipe(to).pipe(from);
  for (const [one, other] of [
    [from, to],
    [to, from],
  ] as const) {
    one.on('error', () => undefined);
    one.on('close', () => other.destroy());
  }
}
