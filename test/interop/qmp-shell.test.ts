/** `switchover qmp` on a real QEMU and on ours, over a unix socket and over TCP: the same lines have the same answers. */

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { runSwitchover } from '../support/run-switchover.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { tempDir } from '../support/temp.ts';

const skipReason = whyNoQemu();
const SCRIPT = `query-status
migrate-set-parameters max-bandwidth=18446744073709551615 downtime-limit=20
migrate-set-capabilities capabilities=[{"capability":"xbzrle","state":true}]
{"exec-oob": "migrate-pause", "id": "now"}
migrate uri=5
nonsense a=1
`;

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  test('a script of lines is answered alike by both, over a unix socket and over TCP', async () => {
    await using directory = await tempDir();
    const answers = async (kind: 'qemu' | 'switchover', socket: string, monitor: string) => {
      await using _peer = await startPeer(kind, { memory: '16M', args: ['-qmp', `${monitor},server=on,wait=off`] });
      const { exitCode, stdout, stderr } = await runSwitchover(['qmp', socket], new TextEncoder().encode(SCRIPT));
      const single = await runSwitchover(['qmp', socket, 'query-migrate-parameters']);
      const refused = await runSwitchover(['qmp', socket, 'migrate', '{"uri": "x:y"}']);
      return { exitCode, stdout, stderr, bandwidth: /"max-bandwidth": \d+/.exec(single.stdout)?.[0], refused };
    };
    const port = await freePort();
    const expected = await answers('qemu', directory.file('q'), `unix:${directory.file('q')}`);
    expect(expected).toMatchObject({
      exitCode: 2,
      stderr: '',
      bandwidth: '"max-bandwidth": 18446744073709551615',
      refused: { exitCode: 2, stdout: '', stderr: 'switchover qmp: unknown migration protocol: x:y\n' },
    });
    expect(expected.stdout.split('\n')).toHaveLength(7);
    expect(await answers('switchover', directory.file('o'), `unix:${directory.file('o')}`)).toEqual(expected);
    const tcp = `tcp:127.0.0.1:${port}`;
    expect(await answers('qemu', tcp, tcp)).toEqual(expected);
    expect(await answers('switchover', tcp, tcp)).toEqual(expected);
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // it listens on TCP
  server.close();
  await once(server, 'close');
  return port;
}
