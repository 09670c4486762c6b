/** What our source writes for a machine that QEMU was recorded with is what QEMU wrote, byte for byte. */

import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { Vm } from '../../src/migration/vm.ts';
import { type PrecopyStream, precopyStream } from '../support/precopy-streams.ts';
import { recordedStream } from '../support/recorded-stream.ts';
import { type TempDir, tempDir } from '../support/temp.ts';

/** The recorded machine, never started, with the recorded RAM; and a promise for its migration's last status. */
async function recordedMachine(
  stream: PrecopyStream,
  dir: TempDir,
  capabilities: readonly string[] = [],
  uuid?: string,
): Promise<{ vm: Vm; ended: Promise<string> }> {
  const image = dir.file('ram');
  await writeFile(image, stream.ram);
  const options = new MigrationOptions();
  options.setGlobals(stream.off.map((name) => ({ name, text: 'off' })));
  const on = ['events', ...capabilities].map((capability) => ({ capability, state: true }));
  options.setCapabilities(on, IDLE_CONTEXT);
  const blank = stream.ram.every((byte) => byte === 0);
  const vm = await Vm.create({
    machineType: 'none',
    ramBytes: stream.ram.length,
    startPaused: true,
    ...(uuid === undefined ? {} : { uuid }),
    loaders: blank ? [] : [{ file: image, address: 0 }],
    options,
    log: silentLogger,
  });
  const ended = new Promise<string>((resolve) => {
    vm.onEvent(({ name, data }) => {
      if (name === 'MIGRATION' && (data.status === 'completed' || data.status === 'failed')) resolve(data.status);
    });
  });
  return { vm, ended };
}

/** Where two streams part; undefined when they do not. */
function firstDifference(ours: Uint8Array, theirs: Uint8Array): object | undefined {
  if (Buffer.compare(ours, theirs) === 0) return undefined;
  const limit = Math.min(ours.length, theirs.length);
  let at = 0;
  while (at < limit && ours[at] === theirs[at]) at += 1;
  const around = (bytes: Uint8Array) => Buffer.from(bytes.subarray(Math.max(0, at - 8), at + 24)).toString('hex');
  return { at, lengths: [ours.length, theirs.length], ours: around(ours), theirs: around(theirs) };
}

test.for(['none-1m-file.main', 'none-1m-pre10.main', 'none-4m-single.main'])('%s, through a file', async (name) => {
  const stream = precopyStream(name);
  await using dir = await tempDir();
  const source = await recordedMachine(stream, dir);
  await using vm = source.vm;
  const path = dir.file('stream');
  await vm.migrate({ uri: `file:${path}` });
  expect(await source.ended).toBe('completed');
  expect(firstDifference(await readFile(path), stream.bytes)).toBeUndefined();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('none-1m-oldformat.main, which ends where its machine type left the description out', async () => {
  const stream = precopyStream('none-1m-oldformat.main');
  await using dir = await tempDir();
  const source = await recordedMachine(stream, dir);
  await using vm = source.vm;
  const path = dir.file('stream');
  await vm.migrate({ uri: `file:${path}` });
  expect(await source.ended).toBe('completed');
  const ours = await readFile(path);
  expect(firstDifference(ours.subarray(0, stream.bytes.length), stream.bytes)).toBeUndefined();
  expect(ours[stream.bytes.length]).toBe(0x06);
});

test('none-4m-return-path.main, over a socket whose other end answers as recorded', async () => {
  const stream = precopyStream('none-4m-return-path.main');
  const answers = recordedStream('none-4m-return-path.rp');
  await using dir = await tempDir();
  await using server = createServer();
  const path = dir.file('m.sock');
  server.listen(path);
  await once(server, 'listening');
  const source = await recordedMachine(stream, dir, ['return-path']);
  await using vm = source.vm;
  const accepted = once(server, 'connection');
  await vm.migrate({ uri: `unix:${path}` });
  const [socket] = await accepted;
  let received = 0;
  socket.on('data', (chunk: Uint8Array) => {
    if (received === 0) socket.write(answers.subarray(0, 8)); // PONG
    received += chunk.length;
    if (received === stream.bytes.length) socket.end(answers.subarray(8)); // SHUT
  });
  const ours = await buffer(socket);
  expect(await source.ended).toBe('completed');
  expect(firstDifference(ours, stream.bytes)).toBeUndefined();
});

test('a UUID is sent and described as in none-4m-validate-uuid.main', async () => {
  // Recorded with multifd, so only what comes before and after the RAM section is comparable.
  const recorded = recordedStream('none-4m-validate-uuid.main');
  await using dir = await tempDir();
  const uuid = '11223344-5566-7788-99aa-bbccddeeff00';
  const source = await recordedMachine(precopyStream('none-1m-file.main'), dir, ['validate-uuid'], uuid);
  await using vm = source.vm;
  const path = dir.file('stream');
  await vm.migrate({ uri: `file:${path}` });
  expect(await source.ended).toBe('completed');
  const ours = await readFile(path);
  const configurationBytes = 8 + 9 + 24 + 16;
  expect(
    firstDifference(ours.subarray(0, configurationBytes), recorded.subarray(0, configurationBytes)),
  ).toBeUndefined();
  const description = (stream: Uint8Array) => stream.subarray(Buffer.from(stream).lastIndexOf('{"configuration"') - 6);
  expect(firstDifference(description(ours), description(recorded))).toBeUndefined();
});
