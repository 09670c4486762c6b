/** `tls-creds-psk`: keys shared by both ends, in GnuTLS's file format: lines `NAME:HEX`. */

import { HarnessError } from '../../base/errors.ts';
import { credentialsFile } from './tls-files.ts';

/** What object-add takes. */
export interface PskArguments {
  readonly 'verify-peer'?: boolean;
  readonly dir?: string;
  readonly endpoint?: 'client' | 'server';
  readonly priority?: string;
  readonly username?: string;
}

/** Credentials that were read: a server has all keys of the file by name, a client the one it uses. */
export interface PskCredentials {
  readonly type: 'tls-creds-psk';
  readonly endpoint: 'client' | 'server';
  /** GnuTLS's priority string, as given. */
  readonly priority?: string;
  /** Whom a client says it is. */
  readonly username: string;
  readonly keys: ReadonlyMap<string, Buffer>;
}

const FILE = 'keys.psk';

/** Reads the keys. Throws `qmp/generic`. */
export function loadPskCredentials(args: PskArguments): PskCredentials {
  const { dir, endpoint = 'client', priority, username = 'qemu' } = args;
  const { path, content } = credentialsFile(dir, FILE);
  const keys = readKeys(content.toString('utf8'), path);
  const own = keys.get(username);
  if (endpoint === 'client' && own === undefined) {
    throw new HarnessError('qmp/generic', { text: `Username ${username} not found in PSK file ${path}` });
  }
  return {
    type: 'tls-creds-psk',
    endpoint,
    ...(priority === undefined ? {} : { priority }),
    username,
    keys: endpoint === 'client' && own !== undefined ? new Map([[username, own]]) : keys,
  };
}

function readKeys(text: string, path: string): Map<string, Buffer> {
  const keys = new Map<string, Buffer>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, name, hex] = /^([^:]+):((?:[0-9a-f]{2})+)\s*$/i.exec(line) ?? [];
    if (name === undefined || hex === undefined) {
      throw new HarnessError('qmp/generic', { text: `PSK file ${path}, line ${index + 1}: expected NAME:HEXKEY` });
    }
    keys.set(name, Buffer.from(hex, 'hex'));
  }
  return keys;
}
