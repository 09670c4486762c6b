/** Credentials in QEMU's directory layout, made with the openssl command: an authority, certificates of it, and shared keys. */

import { execFile } from 'node:child_process';
import { appendFile, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const DAYS = ['-days', '2'];

/** The name that the server's certificate has. */
export const SERVER_NAME = 'vm.example';
/** The distinguished name of the client's certificate, as authz-simple compares it. */
export const CLIENT_NAME = 'C=GB,O=Fish\\, Inc,CN=client.example';

/** Directories for `dir=`: server and client trust each other; the others do not get in. */
export interface TlsCredentials {
  readonly server: string;
  readonly client: string;
  /** A client that trusts the server and has no certificate. */
  readonly nameless: string;
  /** A client that trusts another authority than the server's. */
  readonly stranger: string;
  /** A client that trusts the server and has another authority's certificate. */
  readonly impostor: string;
  readonly key: string;
  readonly otherKey: string;
}

/** Makes them all below `dir`. */
export async function makeTlsCredentials(dir: string): Promise<TlsCredentials> {
  const at = (name: string) => join(dir, name);
  const names = ['server', 'client', 'nameless', 'stranger', 'impostor', 'key', 'otherKey'] as const;
  const dirs = Object.fromEntries(names.map((name) => [name, at(name)])) as Record<(typeof names)[number], string>;
  for (const path of Object.values(dirs)) await mkdir(path, { recursive: true });
  await Promise.all([authority(at('ours')), authority(at('theirs'))]);
  for (const name of ['server', 'client', 'nameless'] as const)
    await copyFile(at('ours.pem'), at(`${name}/ca-cert.pem`));
  await copyFile(at('theirs.pem'), at('stranger/ca-cert.pem'));
  // Its own authority too, for QEMU checks a certificate against the authorities beside it.
  await copyFile(at('theirs.pem'), at('impostor/ca-cert.pem'));
  await run('sh', ['-c', 'cat "$1" >> "$2"', 'sh', at('ours.pem'), at('impostor/ca-cert.pem')]);
  await certificate(at('ours'), { path: at('server/server'), subject: `/CN=${SERVER_NAME}`, name: SERVER_NAME });
  const client = '/C=GB/O=Fish, Inc/CN=client.example';
  await certificate(at('ours'), { path: at('client/client'), subject: client, name: 'client.example' });
  await certificate(at('theirs'), { path: at('impostor/client'), subject: client, name: 'client.example' });
  await writeFile(at('key/keys.psk'), 'qemu:00112233445566778899aabbccddeeff\n');
  await writeFile(at('otherKey/keys.psk'), 'qemu:ff112233445566778899aabbccddeeff\n');
  return dirs;
}

async function authority(path: string): Promise<void> {
  const out = ['-keyout', `${path}.key`, '-out', `${path}.pem`];
  await run('openssl', [
    'req',
    '-x509',
    ...KEY,
    ...out,
    ...DAYS,
    '-subj',
    '/CN=authority',
    '-addext',
    'keyUsage=critical,keyCertSign',
  ]);
}

async function certificate(ca: string, options: { path: string; subject: string; name: string }): Promise<void> {
  const { path, subject, name } = options;
  await run('openssl', ['req', ...KEY, '-keyout', `${path}-key.pem`, '-out', `${path}.csr`, '-subj', subject]);
  await appendFile(
    `${path}.ext`,
    `subjectAltName=DNS:${name},IP:127.0.0.1\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n`,
  );
  const by = ['-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-CAcreateserial'];
  await run('openssl', [
    'x509',
    '-req',
    '-in',
    `${path}.csr`,
    ...by,
    ...DAYS,
    '-extfile',
    `${path}.ext`,
    '-out',
    `${path}-cert.pem`,
  ]);
}
