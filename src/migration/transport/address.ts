/** Migration URIs and channel lists, parsed to one address type (spec/control.md §6). Pure. */

import { HarnessError } from '../../base/errors.ts';
import type { MigrationAddress, MigrationChannel } from '../vm-control.ts';
import { type InetAddress, parseTcp, type TcpAddress } from './tcp-address.ts';

/** Where a migration stream goes to or comes from; `file` offsets are bytes. */
export type Address =
  | TcpAddress
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
      if (rest === '') throw bad(uri, 'invalid Unix socket address');
      return { kind: 'unix', path: rest, uri };
    case 'exec':
      return { kind: 'exec', command: ['/bin/sh', '-c', rest], uri };
    case 'file':
      return parseFile(uri, rest);
    case 'fd':
      if (rest === '') throw bad(uri, 'invalid file descriptor address');
      // None can be received, so no name is ever one.
      throw new HarnessError('qmp/generic', { text: `File descriptor named '${rest}' has not been found` });
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
      return fromInet(addr);
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

function fromInet({ transport: _, type: __, ...inet }: InetAddress): TcpAddress {
  const host = inet.host.includes(':') ? `[${inet.host}]` : inet.host;
  return { kind: 'tcp', ...inet, uri: `tcp:${host}:${inet.port}` };
}

function parseFile(uri: string, rest: string): Address {
  const at = rest.indexOf(',offset=');
  const path = at < 0 ? rest : rest.slice(0, at);
  const offset = at < 0 ? 0 : parseOffset(uri, rest.slice(at + ',offset='.length));
  return { kind: 'file', path, offset, uri };
}

/** A size as QEMU reads it: decimal with an optional fraction and suffix, or hexadecimal. */
function parseOffset(uri: string, text: string): number {
  const refused = (why: string) => bad(uri, `file URI has bad offset ${text}: ${why}`);
  if (/^ *-\d/.test(text)) throw refused('Numerical result out of range');
  const [, hex, whole = '', fraction = '', suffix = ''] =
    /^(?:(0x[0-9a-f]+)|(\d+)(\.\d*)?([bkmgtpe]?))$/i.exec(text) ?? [];
  const unit = 1024 ** 'bkmgtpe'.indexOf(suffix.toLowerCase() || 'b');
  const offset = hex === undefined ? Number(whole) * unit + Math.trunc(Number(`0${fraction}`) * unit) : Number(hex);
  if ((hex ?? whole) === '' || (/[1-9]/.test(fraction) && unit === 1)) throw refused('Invalid argument');
  if (offset > Number.MAX_SAFE_INTEGER) throw refused('Numerical result out of range');
  return offset;
}

function bad(uri: string, why: string): HarnessError {
  return new HarnessError('transport/bad-uri', { uri, why });
}
