/** The same machine, saved by QEMU and by us to a file: the streams are equal byte for byte, and so are the counters. */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { writeRandomFile } from '../support/random-file.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

const UUID = '11223344-5566-7788-99aa-bbccddeeff00';
/** Members of query-migrate's `ram` that do not depend on how fast it went. */
const COUNTERS = [
  'transferred',
  'remaining',
  'total',
  'duplicate',
  'normal',
  'normal-bytes',
  'dirty-sync-count',
  'page-size',
  'precopy-bytes',
  'downtime-bytes',
  'postcopy-bytes',
  'multifd-bytes',
];

const CASES: readonly {
  name: string;
  capabilities: Record<string, boolean>;
  args: readonly string[];
  uuid?: string;
}[] = [
  { name: 'plain', capabilities: {}, args: [] },
  { name: 'validate-uuid with a UUID', capabilities: { 'validate-uuid': true }, args: [], uuid: UUID },
  { name: 'validate-uuid without a UUID', capabilities: { 'validate-uuid': true }, args: [] },
  { name: 'no switchover-start', capabilities: {}, args: ['-global', 'migration.send-switchover-start=off'] },
  { name: 'no footers', capabilities: {}, args: ['-global', 'migration.send-section-footer=off'] },
  {
    name: 'the old format: nothing optional',
    capabilities: {},
    args: [
      ...['-machine', 'suppress-vmdesc=on', '-global', 'migration.send-configuration=off'],
      ...['-global', 'migration.send-section-footer=off', '-global', 'migration.store-global-state=off'],
      ...['-global', 'migration.send-switchover-start=off'],
    ],
  },
  { name: 'no global state', capabilities: {}, args: ['-global', 'migration.store-global-state=off'] },
];

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test.for(CASES)('the stream of a stopped machine is QEMU’s: $name', async ({ capabilities, args, uuid }) => {
    await using dir = await tempDir();
    const content = await writeRandomFile({ path: dir.file('content'), mib: 2, seed: 7 });
    const save = async (kind: PeerKind) => {
      const path = dir.file(`${kind}.stream`);
      await using peer = await startPeer(kind, {
        memory: '4M',
        loadFile: content.path,
        args,
        ...(uuid === undefined ? {} : { uuid }),
      });
      await peer.setCapabilities(capabilities);
      await peer.qmp.execute('migrate', { uri: `file:${path}` });
      const { ram } = await peer.waitStatus('completed');
      // query-migrate of a completed migration has `ram`.
      const counters = ram as Record<string, unknown>;
      return {
        stream: readFileSync(path),
        counters: Object.fromEntries(COUNTERS.map((name) => [name, counters[name]])),
      };
    };
    const theirs = await save('qemu');
    const ours = await save('switchover');
    expect(ours.stream.equals(theirs.stream)).toBe(true);
    expect(ours.counters).toEqual(theirs.counters);
  });
});
