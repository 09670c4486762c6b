/** Migration URIs and channel lists, parsed to one address type (spec/control.md §6). Pure. */

import { HarnessError } from '../../base/errors.ts';
import { parseQemuSize } from '../../base/units.ts';
import type { MigrationAddress, MigrationChannel } from '../vm-control.ts';
import { type InetAddress, parseTcp, type TcpAddress } from './tcp-address.ts';

/** A unix socket by its path, or by a name that no file system has. */
export interface UnixAddress {
  readonly kind: 'unix';
  readonly path: string;
  /** Linux's abstract names; `tight`: the name ends where it ends and is not filled up with NULs. */
  readonly abstract?: { readonly tight: boolean };
  readonly uri: string;
}

/** Where a migration stream goes to or comes from; `file` offsets are bytes. */
export type Address =
  | TcpAddress
  | UnixAddress
  | { readonly kind: 'fd'; readonly name: string; readonly uri: string }
  | { readonly kind: 'exec'; readonly command: readonly string[]; readonly uri: string }
  | { readonly kind: 'file'; readonly path: string; readonly offset: number; readonly uri: string };

/** Why there is no vsock transport. */
export const NO_VSOCK = 'Node has no sockets of the family vsock';

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
      return { kind: 'fd', name: rest, uri };
    case 'vsock':
      if (!/^[^:]+:./.test(rest)) throw new HarnessError('qmp/generic', { text: `error parsing address '${rest}'` });
      throw new HarnessError('transport/unsupported', { uri, why: NO_VSOCK });
    case 'rdma':
      throw new HarnessError('transport/unsupported', { uri, why: 'there is no RDMA transport' });
    default:
      // QEMU's own sentence for this; clients match on it.
      throw new HarnessError('qmp/generic', { text: `unknown migration protocol: ${uri}` });
  }
}

/** Arguments of migrate and migrate-incoming that say where. */
interface Place {
  readonly uri?: string | undefined;
  readonly channels?: readonly MigrationChannel[] | undefined;
}

/** The address of `migrate`'s arguments: exactly one of uri and a non-empty list. A channel `cpr` is for a mode that is refused. */
export function addressOf(args: Place): Address {
  for (const type of ['main', 'cpr'] as const) {
    const count = args.channels?.filter((channel) => channel['channel-type'] === type).length ?? 0;
    if (count > 1 && args.uri === undefined) throw refuse(`Channel list has more than one ${type} entry`);
  }
  return onlyAddress(args);
}

/** The same for `migrate-incoming`, whose list has one channel. */
export function incomingAddressOf(args: Place): Address {
  const { uri, channels = [] } = args;
  const isMain = channels.length === 1 && channels[0]?.['channel-type'] === 'main';
  if (uri === undefined && channels.length > 0 && !isMain) {
    throw refuse("Channel list must have only one entry, for type 'main'");
  }
  return onlyAddress(args);
}

function onlyAddress(args: Place): Address {
  const { uri } = args;
  const channels = args.channels ?? [];
  if ((uri === undefined) === (channels.length === 0)) {
    throw refuse("need either 'uri' or 'channels' argument"); // QEMU's words, for neither and for both
  }
  if (uri !== undefined) return parseUri(uri);
  const main = channels.find((channel) => channel['channel-type'] === 'main');
  if (main === undefined) throw refuse('Channel list has no main entry');
  return fromChannel(main.addr);
}

function refuse(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}

function fromChannel(addr: MigrationAddress): Address {
  switch (addr.transport) {
    case 'socket':
      if (addr.type === 'unix') {
        const { path, abstract } = addr;
        return { kind: 'unix', path, ...(abstract === undefined ? {} : { abstract }), uri: `unix:${path}` };
      }
      if (addr.type === 'fd') return { kind: 'fd', name: addr.str, uri: `fd:${addr.str}` };
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

function parseOffset(uri: string, text: string): number {
  const refused = (why: string) => bad(uri, `file URI has bad offset ${text}: ${why}`);
  const offset = parseQemuSize(text);
  if (offset === 'invalid') throw refused('Invalid argument');
  if (offset === 'out of range' || offset > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw refused('Numerical result out of range');
  }
  return Number(offset);
}

function bad(uri: string, why: string): HarnessError {
  return new HarnessError('transport/bad-uri', { uri, why });
}
