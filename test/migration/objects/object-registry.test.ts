import { statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { NO_HINTS } from '../../../src/migration/objects/memory-backend.ts';
import { OBJECT_TYPE_NAMES } from '../../../src/migration/objects/object-kinds.ts';
import { ObjectRegistry } from '../../../src/migration/objects/object-registry.ts';
import { tempDir } from '../../support/temp.ts';

/** Made for this test with openssl, valid for a hundred years; protects nothing. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBizCCATGgAwIBAgIUNGCW3wZxQR8GOR2BLLDyYycLQDMwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPc3dpdGNob3Zlci10ZXN0MCAXDTI2MTEyNTEzMTgwMFoYDzIx
MjYxMTAxMTMxODAwWjAaMRgwFgYDVQQDDA9zd2l0Y2hvdmVyLXRlc3QwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAAQHRhB2Rlwc5UND2UUAOfAo0Nd0ZPF/OTjSrXCr
6L0B4G3q4ZGy0L0qw6OL6eJM5LzzaUoQ44NSHCVG2EmXd0Rxo1MwUTAdBgNVHQ4E
FgQUbtBF41AInQwwwLqKe3o90gmfRF4wHwYDVR0jBBgwFoAUbtBF41AInQwwwLqK
e3o90gmfRF4wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBbHaZJ
JI9g8QlffqaspeWMqE3yE03T7MrboFrUhIYyIQIhAJ9R5Je+9I771Jrv/Kr74lUY
LVnddACgdsaSf3J2WS8U
-----END CERTIFICATE-----
`;
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbbgiRw3l8WHxSm0y
ZYPRcm7biixWjavdpxptdvolybahRANCAAQHRhB2Rlwc5UND2UUAOfAo0Nd0ZPF/
OTjSrXCr6L0B4G3q4ZGy0L0qw6OL6eJM5LzzaUoQ44NSHCVG2EmXd0Rx
-----END PRIVATE KEY-----
`;

type Arguments = Parameters<ObjectRegistry['add']>[0];

function refusal(args: Arguments, registry = new ObjectRegistry()): string {
  try {
    registry.add(args);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return 'accepted';
}

describe('object-add', () => {
  // Each text was said by a real QEMU 10.0.2.
  test.each<[Arguments, string]>([
    [{}, "Parameter 'qom-type' is missing"],
    [{ 'qom-type': 1n }, "Invalid parameter type for 'qom-type', expected: string"],
    [{ 'qom-type': 'nope', id: 'a' }, "Parameter 'qom-type' does not accept value 'nope'"],
    [{ 'qom-type': 'authz-simple' }, "Parameter 'id' is missing"],
    [{ 'qom-type': 'authz-simple', id: 'a' }, "Parameter 'identity' is missing"],
    [{ 'qom-type': 'authz-simple', id: '1a', identity: 'x' }, "Parameter 'id' expects an identifier"],
    [{ 'qom-type': 'authz-simple', id: '', identity: 'x' }, "Parameter 'id' expects an identifier"],
    [{ 'qom-type': 'authz-simple', id: 'b', identity: 'x', z: 1n }, "Parameter 'z' is unexpected"],
    [{ 'qom-type': 'authz-simple', id: 'b', identity: 1n }, "Invalid parameter type for 'identity', expected: string"],
    [{ 'qom-type': 'memory-backend-ram', id: 'm' }, "Parameter 'size' is missing"],
    [
      { 'qom-type': 'memory-backend-ram', id: 'm', size: 0n },
      "property 'size' of memory-backend-ram doesn't take value '0'",
    ],
    [{ 'qom-type': 'memory-backend-ram', id: 'm', size: '1M' }, "Parameter 'size' expects uint64"],
    [{ 'qom-type': 'memory-backend-file', id: 'f', size: 4096n }, "Parameter 'mem-path' is missing"],
    [{ 'qom-type': 'tls-creds-x509', id: 't' }, "Missing 'dir' property value"],
    [
      { 'qom-type': 'tls-creds-x509', id: 't', dir: '/nonexistent' },
      'Unable to access credentials /nonexistent/ca-cert.pem: No such file or directory',
    ],
    [
      { 'qom-type': 'tls-creds-x509', id: 't', dir: '/nonexistent', endpoint: 'x' },
      "Parameter 'endpoint' does not accept value 'x'",
    ],
    [{ 'qom-type': 'tls-creds-psk', id: 't' }, "Missing 'dir' property value"],
    [
      { 'qom-type': 'tls-creds-psk', id: 't', dir: '/nonexistent' },
      'Unable to access credentials /nonexistent/keys.psk: No such file or directory',
    ],
    [{ 'qom-type': 'tls-creds-psk', id: 't', dir: 1n }, "Invalid parameter type for 'dir', expected: string"],
  ])('%o: %s', (args, text) => {
    expect(refusal(args)).toBe(text);
  });

  test('takes an id once, and looks at the size before that and at files after it', () => {
    const registry = new ObjectRegistry();
    registry.add({ 'qom-type': 'authz-simple', id: 'a', identity: 'CN=x' });
    const taken = "attempt to add duplicate property 'a' to object (type 'container')";
    expect(refusal({ 'qom-type': 'authz-simple', id: 'a', identity: 'CN=x' }, registry)).toBe(taken);
    expect(refusal({ 'qom-type': 'tls-creds-x509', id: 'a' }, registry)).toBe(taken);
    expect(refusal({ 'qom-type': 'memory-backend-ram', id: 'a', size: 0n }, registry)).toContain("value '0'");
    expect(registry.find('a', 'authz-simple')).toEqual({ type: 'authz-simple', identity: 'CN=x' });
    expect(registry.find('a', 'tls-creds-x509', 'tls-creds-psk')).toBeUndefined();
  });

  test('leaves nothing behind when it is refused', () => {
    const registry = new ObjectRegistry();
    refusal({ 'qom-type': 'tls-creds-psk', id: 't', dir: '/nonexistent' }, registry);
    expect(registry.list(...OBJECT_TYPE_NAMES)).toEqual([]);
  });
});

test('object-del refuses what is not there and what is in use', () => {
  const registry = new ObjectRegistry();
  registry.useAsRam('ram', 4096);
  registry.addFromTexts(new Map(Object.entries({ 'qom-type': 'memory-backend-ram', id: 'm', size: '64K' })));
  expect(registry.list('memory-backend-ram')).toEqual([
    { id: 'ram', object: { type: 'memory-backend-ram', size: 4096, share: false, hints: NO_HINTS } },
    { id: 'm', object: { type: 'memory-backend-ram', size: 65_536, share: false, hints: NO_HINTS } },
  ]);
  expect(() => registry.remove('nope')).toThrow("object 'nope' not found");
  expect(() => registry.remove('ram')).toThrow("object 'ram' is in use, can not be deleted");
  registry.remove('m');
  expect(() => registry.remove('m')).toThrow("object 'm' not found");
});

test('the backend that a machine uses keeps what it was made with', async () => {
  await using dir = await tempDir();
  const registry = new ObjectRegistry();
  const path = dir.file('ram');
  const texts = { 'qom-type': 'memory-backend-file', id: 'f', size: '1M', 'mem-path': path, share: 'on' };
  registry.addFromTexts(new Map(Object.entries(texts)));
  registry.useAsRam('f', 1 << 20);
  expect(registry.find('f', 'memory-backend-file')).toMatchObject({ file: { path, share: true } });
  expect(statSync(path).size).toBe(1 << 20);
  expect(() => registry.remove('f')).toThrow('in use');
});

describe('memory-backend-file', () => {
  const MIB = 1n << 20n;

  // Each text was said by a real QEMU 10.0.2, of a file of 4 MiB.
  test.each<[Arguments, string]>([
    [{ offset: MIB, align: 4096n, pmem: true }, 'accepted'],
    [{ offset: 3n * MIB, readonly: true, rom: 'off' }, 'accepted'],
    [
      { offset: 4n * MIB },
      "m backing store size 0x400000 is too small for 'size' option 0x100000 plus 'offset' option 0x400000",
    ],
    [
      { size: 4097n, offset: 8n * MIB },
      "m backing store size 0x400000 is too small for 'size' option 0x2000 plus 'offset' option 0x800000",
    ],
    [
      { offset: 4n * MIB, align: 100n },
      "m backing store size 0x400000 is too small for 'size' option 0x100000 plus 'offset' option 0x400000",
    ],
    [{ offset: 100n, align: 100n }, 'alignment 0x64 must be multiples of page size 0x1000'],
    [{ size: 100n, offset: 100n }, 'offset 0x64 must be multiples of page size 0x1000'],
    [{ rom: 'on', offset: 100n }, "property 'rom' = 'on' is not supported with 'readonly' = 'off'"],
    [
      { rom: 'off', readonly: true, share: true },
      "property 'rom' = 'off' is incompatible with 'readonly' = 'on' and 'share' = 'on'",
    ],
  ])('%o: %s', async (args, text) => {
    await using dir = await tempDir();
    await writeFile(dir.file('ram'), new Uint8Array(4 << 20));
    const all = { 'qom-type': 'memory-backend-file', id: 'm', size: MIB, 'mem-path': dir.file('ram'), ...args };
    expect(refusal(all)).toBe(text);
  });

  test('a new file is as long as offset and size', async () => {
    await using dir = await tempDir();
    const path = dir.file('ram');
    const args = { 'qom-type': 'memory-backend-file', id: 'm', size: MIB, offset: 2n * MIB, 'mem-path': path };
    expect(refusal(args)).toBe('accepted');
    expect(statSync(path).size).toBe(3 << 20);
  });

  test('a read-only file has to be there, and no directory', async () => {
    await using dir = await tempDir();
    const args = { 'qom-type': 'memory-backend-file', id: 'm', size: MIB, readonly: true };
    const cannot = (path: string) => `can't open backing store ${path} for guest RAM:`;
    const none = dir.file('none');
    expect(refusal({ ...args, 'mem-path': none })).toBe(`${cannot(none)} No such file or directory`);
    expect(refusal({ ...args, 'mem-path': dir.path })).toBe(`${cannot(dir.path)} Is a directory`);
  });
});

describe('tls-creds-psk', () => {
  test('a server has all keys, a client its own', async () => {
    await using dir = await tempDir();
    await writeFile(dir.file('keys.psk'), '# test\nqemu:00ff\nzed:0a0B0c\n');
    const registry = new ObjectRegistry();
    registry.add({ 'qom-type': 'tls-creds-psk', id: 's', dir: dir.path, endpoint: 'server' });
    registry.add({ 'qom-type': 'tls-creds-psk', id: 'c', dir: dir.path, username: 'zed' });
    expect(registry.find('s', 'tls-creds-psk')?.keys).toEqual(
      new Map([
        ['qemu', Buffer.from('00ff', 'hex')],
        ['zed', Buffer.from('0a0b0c', 'hex')],
      ]),
    );
    expect(registry.find('c', 'tls-creds-psk')).toEqual({
      type: 'tls-creds-psk',
      endpoint: 'client',
      username: 'zed',
      keys: new Map([['zed', Buffer.from('0a0b0c', 'hex')]]),
    });
    expect(refusal({ 'qom-type': 'tls-creds-psk', id: 'x', dir: dir.path, username: 'nobody' })).toBe(
      `Username nobody not found in PSK file ${dir.file('keys.psk')}`,
    );
  });

  test('a line that is no key is an error that says which', async () => {
    await using dir = await tempDir();
    await writeFile(dir.file('keys.psk'), 'qemu:00ff\nzed:abc\n');
    expect(refusal({ 'qom-type': 'tls-creds-psk', id: 's', dir: dir.path, endpoint: 'server' })).toBe(
      `PSK file ${dir.file('keys.psk')}, line 2: expected NAME:HEXKEY`,
    );
  });
});

describe('tls-creds-x509', () => {
  test('a server needs certificate and key, a client may do without', async () => {
    await using dir = await tempDir();
    await writeFile(dir.file('ca-cert.pem'), CERTIFICATE);
    const registry = new ObjectRegistry();
    const server = { 'qom-type': 'tls-creds-x509', id: 's', dir: dir.path, endpoint: 'server', 'verify-peer': false };
    registry.add({ 'qom-type': 'tls-creds-x509', id: 'c', dir: dir.path });
    expect(registry.find('c', 'tls-creds-x509')).toEqual({
      type: 'tls-creds-x509',
      endpoint: 'client',
      verifyPeer: true,
      authority: Buffer.from(CERTIFICATE),
    });
    expect(refusal(server, registry)).toContain('server-cert.pem: No such file or directory');
    await writeFile(dir.file('server-cert.pem'), CERTIFICATE);
    await writeFile(dir.file('server-key.pem'), KEY);
    registry.add(server);
    expect(registry.find('s', 'tls-creds-x509')).toMatchObject({
      verifyPeer: false,
      identity: { certificate: Buffer.from(CERTIFICATE), key: Buffer.from(KEY) },
    });
  });

  test.each([
    ['ca-cert.pem', 'Unable to import CA certificate list'],
    ['server-cert.pem', 'Unable to import server certificate'],
    ['server-key.pem', 'Unable to import server key'],
  ])('a bad %s is told with its path', async (name, text) => {
    await using dir = await tempDir();
    await writeFile(dir.file('ca-cert.pem'), CERTIFICATE);
    await writeFile(dir.file('server-cert.pem'), CERTIFICATE);
    await writeFile(dir.file('server-key.pem'), KEY);
    await writeFile(dir.file(name), 'garbage\n');
    const args = { 'qom-type': 'tls-creds-x509', id: 's', dir: dir.path, endpoint: 'server' };
    expect(refusal(args)).toContain(`${text} ${dir.file(name)}: `);
  });
});
