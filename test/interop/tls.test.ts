/**
 * TLS on every channel, between ours and a real QEMU (GnuTLS) in both directions: certificates and shared keys, over tcp
 * and unix, one connection and multifd; who must not get in does not; and nothing legible is on the wire.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { interopPart, isFullInterop } from '../support/interop-extent.ts';
import type { Peer, PeerKind } from '../support/peer.ts';
import { qemuVersion, whyNoQemu } from '../support/qemu.ts';
import { type RandomFile, writeRandomFile } from '../support/random-file.ts';
import { RecordingProxy, tlsRecords } from '../support/recording-proxy.ts';
import { startPeer } from '../support/switchover-vm.ts';
import { type TempDir, tempDir } from '../support/temp.ts';
import { CLIENT_NAME, makeTlsCredentials, SERVER_NAME, type TlsCredentials } from '../support/tls-credentials.ts';

const MEMORY_MIB = 16;
const MEMORY = `${MEMORY_MIB}M`;
/** What every stream has in clear: the magic, names of block and sections, the description, multifd's magic. */
const LEGIBLE = ['QEVM', 'globalstate', 'vmsd_name', '\x11\x22\x33\x44\x00\x00\x00\x01'];
/** No handshake here is as long. */
const HANDSHAKE_BYTES = 8192;

interface Way {
  readonly transport: 'tcp' | 'unix';
  readonly multifd: boolean;
}
const WAYS: readonly Way[] = (['unix', 'tcp'] as const).flatMap((transport) =>
  [false, true].map((multifd) => ({ transport, multifd })),
);
/** Where strangers try to get in: by default with multifd over TCP and without it over unix sockets, everywhere with SWITCHOVER_INTEROP=full. */
const STRANGERS_WAYS = WAYS.filter(({ transport, multifd }) => isFullInterop || multifd === (transport === 'tcp'));

interface Side {
  readonly kind: PeerKind;
  /** `-object` texts. */
  readonly objects?: readonly string[];
  readonly parameters?: object;
  readonly capabilities?: Readonly<Record<string, boolean>>;
}

const skipReason = whyNoQemu();

describe.skipIf(skipReason !== undefined)(`with QEMU ${qemuVersion() ?? `(${skipReason})`}`, () => {
  let dir: TempDir;
  let content: RandomFile;
  let credentials: TlsCredentials;

  beforeAll(async () => {
    dir = await tempDir();
    content = await writeRandomFile({ path: dir.file('content'), mib: MEMORY_MIB, seed: 50 });
    credentials = await makeTlsCredentials(dir.file('tls'));
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  const x509 = (endpoint: 'client' | 'server', from: keyof TlsCredentials = endpoint) =>
    `tls-creds-x509,id=t,endpoint=${endpoint},dir=${credentials[from]}`;
  const psk = (endpoint: 'client' | 'server', from: 'key' | 'otherKey' = 'key') =>
    `tls-creds-psk,id=t,endpoint=${endpoint},dir=${credentials[from]}`;
  const withTls = { 'tls-creds': 't' };
  const withHost = { ...withTls, 'tls-hostname': SERVER_NAME };

  async function start(side: Side, options: { incoming?: boolean; load?: boolean }): Promise<Peer> {
    const peer = await startPeer(side.kind, {
      memory: MEMORY,
      ...(options.incoming === true ? { incoming: 'defer' } : {}),
      ...(options.load === true ? { loadFile: content.path } : {}),
      args: (side.objects ?? []).flatMap((object) => ['-object', object]),
    });
    await peer.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0, ...side.parameters });
    await peer.setCapabilities(side.capabilities ?? {});
    return peer;
  }

  /** A destination that waits, and where. */
  async function waiting(side: Side, transport: 'tcp' | 'unix'): Promise<{ destination: Peer; uri: string }> {
    const destination = await start(side, { incoming: true });
    const path = dir.file(`m${destination.pid}`);
    const uri = transport === 'unix' ? `unix:${path}` : 'tcp:127.0.0.1:0';
    await destination.qmp.execute('migrate-incoming', { uri, 'exit-on-error': false });
    if (transport === 'unix') return { destination, uri };
    const info = await destination.waitStatus(['setup', 'none']);
    const [address] = info['socket-address'] as { port: string }[];
    return { destination, uri: `tcp:127.0.0.1:${address?.port}` };
  }

  function proxyTo(uri: string): Promise<RecordingProxy> {
    if (uri.startsWith('unix:')) {
      const path = uri.slice('unix:'.length);
      return RecordingProxy.start({ path: `${path}p` }, { path });
    }
    return RecordingProxy.start('tcp', { host: '127.0.0.1', port: Number(uri.slice('tcp:127.0.0.1:'.length)) });
  }

  describe.for<{ from: PeerKind; to: PeerKind }>([
    { from: 'switchover', to: 'switchover' },
    { from: 'switchover', to: 'qemu' },
    { from: 'qemu', to: 'switchover' },
  ])('$from → $to', ({ from, to }) => {
    test.for(WAYS.flatMap((way) => (['certificates', 'shared keys'] as const).map((by) => ({ ...way, by }))))(
      '$by over $transport, multifd $multifd: all arrives, and nothing is legible on the wire',
      async ({ by, transport, multifd }) => {
        const capabilities = { multifd, 'return-path': true };
        const isByKey = by === 'shared keys';
        const [client, server] = isByKey ? [psk('client'), psk('server')] : [x509('client'), x509('server')];
        // The URI's host is in the server's certificate as well.
        const parameters = isByKey || transport === 'tcp' ? withTls : withHost;
        const { destination, uri } = await waiting(
          { kind: to, objects: [server], parameters: withTls, capabilities },
          transport,
        );
        await using _ = destination;
        await using proxy = await proxyTo(uri);
        await using source = await start({ kind: from, objects: [client], parameters, capabilities }, { load: true });
        await source.qmp.execute('migrate', { uri: proxy.uri });
        await Promise.all([source.waitStatus('completed'), destination.waitStatus('completed')]);
        expect(await destination.ramSha256()).toBe(content.sha256);
        expect(proxy.connections).toBe(multifd ? 3 : 1);
        const records = proxy.flows.map(tlsRecords);
        for (const { handshakeBytes } of records) expect(handshakeBytes).toBeLessThan(HANDSHAKE_BYTES);
        const encryptedBytes = records.reduce((sum, record) => sum + record.encryptedBytes, 0);
        expect(encryptedBytes).toBeGreaterThan(MEMORY_MIB << 19); // some of its pages are zero
        for (const flow of proxy.flows) for (const text of LEGIBLE) expect(flow.indexOf(text, 0, 'latin1')).toBe(-1);
      },
    );

    test.for(WAYS)('authz-simple lets in whom it names, over $transport, multifd $multifd', async (way) => {
      const { transport, multifd } = way;
      const capabilities = { multifd };
      const authz = `authz-simple,id=z,identity=${CLIENT_NAME.replaceAll(',', ',,')}`;
      const { destination, uri } = await waiting(
        { kind: to, objects: [x509('server'), authz], parameters: { ...withTls, 'tls-authz': 'z' }, capabilities },
        transport,
      );
      await using _ = destination;
      const side = { kind: from, objects: [x509('client')], parameters: withHost, capabilities };
      await using source = await start(side, { load: true });
      await source.qmp.execute('migrate', { uri });
      await Promise.all([source.waitStatus('completed'), destination.waitStatus('completed')]);
    });

    /** `says` is what our source answers; a QEMU's are its own. */
    const strangers: readonly {
      what: string;
      client: () => string;
      server?: () => string;
      parameters?: object;
      authz?: string;
      says: RegExp;
    }[] = [
      {
        what: 'another host name',
        client: () => x509('client'),
        parameters: { 'tls-hostname': 'other.example' },
        says: /^Certificate does not match the hostname other\.example$/,
      },
      {
        what: 'no host name',
        client: () => x509('client'),
        parameters: { 'tls-hostname': '' },
        says: /^No hostname for certificate validation$/,
      },
      {
        what: 'a server of another authority',
        client: () => x509('client', 'stranger'),
        says: /^The certificate hasn't got a known issuer$|alert/, // by whom it is not known either, who may be quicker
      },
      { what: 'no client certificate', client: () => x509('client', 'nameless'), says: /closed|certificate|alert/ },
      {
        what: 'a client of another authority',
        client: () => x509('client', 'impostor'),
        says: /closed|certificate|alert|disconnected/,
      },
      {
        what: 'a client that authz does not name',
        client: () => x509('client'),
        authz: 'CN=somebody',
        says: /closed|disconnected/,
      },
      {
        what: 'credentials that are not there',
        client: () => x509('client').replace('id=t', 'id=u'),
        says: /^No TLS credentials with id 't'$/,
      },
      {
        what: 'credentials of a server',
        client: () => x509('server'),
        says: /^Expected TLS credentials for a client endpoint$/,
      },
      {
        what: 'another key',
        client: () => psk('client', 'otherKey'),
        server: () => psk('server'),
        parameters: { 'tls-hostname': '' },
        says: /closed|alert|decrypt|disconnected/,
      },
    ];
    // Over tcp there is a host in the URI.
    const attempts = STRANGERS_WAYS.flatMap((way) => strangers.map((stranger) => ({ ...way, ...stranger }))).filter(
      ({ what, transport }) => what !== 'no host name' || transport === 'unix',
    );
    test.for(interopPart(attempts))(
      '$what over $transport, multifd $multifd: nobody gets in, and the next one does',
      async ({ transport, multifd, client, server = () => x509('server'), parameters, authz, says }) => {
        const capabilities = { multifd };
        const objects = [server(), ...(authz === undefined ? [] : [`authz-simple,id=z,identity=${authz}`])];
        const admission = authz === undefined ? withTls : { ...withTls, 'tls-authz': 'z' };
        const { destination, uri } = await waiting(
          { kind: to, objects, parameters: admission, capabilities },
          transport,
        );
        await using _ = destination;
        await using source = await start(
          { kind: from, objects: [client()], parameters: { ...withHost, ...parameters }, capabilities },
          { load: true },
        );
        await source.qmp.execute('migrate', { uri });
        const { 'error-desc': error } = await source.waitStatus('failed');
        if (from === 'switchover') expect(error).toMatch(says);
        const { status } = await destination.waitStatus(['setup', 'failed']);
        if (to !== 'switchover' || status !== 'setup') return; // a QEMU takes a broken handshake for a bad stream
        await destination.qmp.execute('migrate-set-parameters', { 'tls-authz': '' });
        const isByKey = server().startsWith('tls-creds-psk');
        const friendly = isByKey ? psk('client') : x509('client');
        await using friend = await start(
          { kind: 'switchover', objects: [friendly], parameters: isByKey ? withTls : withHost, capabilities },
          { load: true },
        );
        await friend.qmp.execute('migrate', { uri });
        await Promise.all([friend.waitStatus('completed'), destination.waitStatus('completed')]);
        expect(await destination.ramSha256()).toBe(content.sha256);
      },
    );
  });
});
