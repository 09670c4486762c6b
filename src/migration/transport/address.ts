/** Migration URIs and channel lists, parsed to one address type (spec/control.md §6). Pure. */

import { HarnessError } from '../../base/errors.ts';
import { parseSize } from '../../base/units.ts';
import type { MigrationAddress, MigrationChannel } from '../vm-control.ts';

/** Where a migration stream goes to or comes from. Ports are strings as in QMP; `file` offsets are bytes. */
export type Address =
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      readonly lastPort: number;
      readonly uri: string;
    }
  | { readonly kind: 'unix'; readonly path: string; readonly uri: string }
  | { readonly kind: 'exec'; readonly command: readonly string[]; readonly uri: string }
  | { readonly kind: 'file'; readonly path: string; readonly offset: number; readonly uri: string };

/** Parses a migration URI. Throws `transport/bad-uri`, or `transport/unsupported` for the schemes this build has not. */
export function parseUri(uri: string): Address {
  const colon = uri.indexOf(':');
  const scheme = colon < 0 ? '' : uri.slice(0, colon);
  const rest = uri.slice(colon + 1);
  switch (scheme) {
    case 'tcp':
      return parseTcp(uri, rest);
    case 'unix':
      if (rest === '') throw bad(uri, 'the socket path is empty');
      return { kind: 'unix', path: rest, uri };
    case 'exec':
      if (rest === '') throw bad(uri, 'the command is empty');
      return { kind: 'exec', command: ['/bin/sh', '-c', rest], uri };
    case 'file':
      return parseFile(uri, rest);
    case 'fd':
    case 'vsock':
    case 'rdma':
      throw new HarnessError('transport/unsupported', { uri, why: `this build has no ${scheme}: transport` });
    default:
      // QEMU's own sentence for this; clients match on it.
      throw new HarnessError('qmp/generic', { text: `unknown migration protocol: ${uri}` });
  }
}

/** The address of `migrate`'s or `migrate-incoming`'s arguments: exactly one of uri and a non-empty channel list. */
export function addressOf(args: {
  uri?: string | undefined;
  channels?: readonly MigrationChannel[] | undefined;
}): Address {
  const { uri } = args;
  const channels = args.channels ?? [];
  if ((uri === undefined) === (channels.length === 0)) {
    const text = "need either 'uri' or 'channels' argument"; // QEMU's words, for neither and for both
    throw new HarnessError('qmp/generic', { text });
  }
  if (uri !== undefined) return parseUri(uri);
  const mains = channels.filter((channel) => channel['channel-type'] === 'main');
  if (mains.length > 1) throw new HarnessError('qmp/generic', { text: 'Channel list has more than one main entry' });
  const [main] = mains;
  if (main === undefined) throw new HarnessError('qmp/generic', { text: 'Channel list has no main entry' });
  if (channels.length > 1) {
    throw new HarnessError('qmp/generic', { text: 'This build has no data path for a cpr channel' });
  }
  return fromChannel(main.addr);
}

function fromChannel(addr: MigrationAddress): Address {
  switch (addr.transport) {
    case 'socket':
      if (addr.type === 'unix') return { kind: 'unix', path: addr.path, uri: `unix:${addr.path}` };
      return parseTcp(
        `tcp:${addr.host}:${addr.port}`,
        `${addr.host.includes(':') ? `[${addr.host}]` : addr.host}:${addr.port}`,
      );
    case 'exec':
      if (addr.args.length === 0) throw bad('exec:', 'the argument list is empty');
      return { kind: 'exec', command: addr.args, uri: `exec:${addr.args.join(' ')}` };
    case 'file':
      return {
        kind: 'file',
        path: addr.filename,
        offset: addr.offset,
        uri: `file:${addr.filename},offset=${addr.offset}`,
      };
    default:
      return addr satisfies never;
  }
}

function parseTcp(uri: string, rest: string): Address {
  const [target = '', ...options] = rest.split(',');
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(target);
  if (match === null) throw bad(uri, `expected tcp:HOST:PORT, got 'tcp:${target}'`);
  const host = match[1] ?? match[2] ?? '';
  if (host.length > 64) throw bad(uri, `the host is ${host.length} characters long, at most 64 are allowed`);
  const port = parsePort(uri, match[3] ?? '');
  let lastPort = port;
  for (const option of options) {
    const [key, value] = option.split('=');
    if (key === 'to' && value !== undefined) lastPort = parsePort(uri, value);
    else if (!['ipv4', 'ipv6', 'keep-alive', 'mptcp'].includes(key ?? '')) throw bad(uri, `unknown option '${option}'`);
  }
  return { kind: 'tcp', host, port, lastPort, uri };
}

function parsePort(uri: string, text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port >= 0 && port <= 65_535)) throw bad(uri, `expected a port from 0 to 65535, got '${text}'`);
  return port;
}

function parseFile(uri: string, rest: string): Address {
  const at = rest.indexOf(',offset=');
  const path = at < 0 ? rest : rest.slice(0, at);
  if (path === '') throw bad(uri, 'the file name is empty');
  const offset = at < 0 ? 0 : parseSize(rest.slice(at + ',offset='.length), `offset of ${uri}`);
  return { kind: 'file', path, offset, uri };
}

function bad(uri: string, why: string): HarnessError {
  return new HarnessError('transport/bad-uri', { uri, why });
}
