/**
 * The address behind `tcp:` URIs and inet channels (spec/control.md §6): QEMU's grammar, which ignores what it does not
 * know, with QEMU's words for what it refuses. Ports are resolved when a socket is opened, so a bad one fails the migration
 * and not the command. Pure.
 */

import { HarnessError } from '../../base/errors.ts';
import type { MigrationAddress } from '../vm-control.ts';

/** An inet address as QMP has it. */
export type InetAddress = Extract<MigrationAddress, { readonly type: 'inet' }>;

/** Where a socket connects to or listens; `portNumber` reads its port. */
export interface TcpAddress extends Omit<InetAddress, 'transport' | 'type'> {
  readonly kind: 'tcp';
  readonly uri: string;
}

const HIGHEST_PORT = 65_535;
const LONGEST = { host: 64, port: 32 };

/** Parses what comes after `tcp:`. Throws `transport/bad-uri`. */
export function parseTcp(uri: string, rest: string): TcpAddress {
  const { host, port, options } = split(uri, rest);
  const to = parseTo(uri, options);
  const flags = { ipv4: flag(uri, options, 'ipv4'), ipv6: flag(uri, options, 'ipv6') };
  const keepAlive = flag(uri, options, 'keep-alive');
  return {
    kind: 'tcp',
    host,
    port,
    ...(to === undefined ? {} : { to }),
    ...(flags.ipv4 === undefined ? {} : { ipv4: flags.ipv4 }),
    ...(flags.ipv6 === undefined ? {} : { ipv6: flags.ipv6 }),
    ...(keepAlive === undefined ? {} : { keepAlive }),
    uri,
  };
}

/** The port's number. Throws `transport/resolve` in the C library's words; names of services are not looked up. */
export function portNumber({ host, port }: TcpAddress): number {
  const number = /^ *\d+$/.test(port) ? Number(port) : Number.NaN;
  if (number <= HIGHEST_PORT) return number;
  throw unresolved({ host, port }, 'Servname not supported for ai_socktype');
}

/** The IP version to insist on, or 0. Throws `transport/resolve` when none is left. */
export function familyOf({ ipv4, ipv6 }: TcpAddress): 0 | 4 | 6 {
  if (ipv4 === false && ipv6 === false) {
    throw new HarnessError('transport/resolve', { why: 'Cannot disable IPv4 and IPv6 at same time' });
  }
  if (ipv4 === false || (ipv6 === true && ipv4 === undefined)) return 6;
  return ipv6 === false || (ipv4 === true && ipv6 === undefined) ? 4 : 0;
}

/** A name that means nothing, in QEMU's words. */
export function unresolved({ host, port }: Pick<TcpAddress, 'host' | 'port'>, reason: string): HarnessError {
  return new HarnessError('transport/resolve', { why: `address resolution failed for ${host}:${port}: ${reason}` });
}

function split(uri: string, rest: string): { host: string; port: string; options: string } {
  const comma = rest.indexOf(',');
  const target = comma < 0 ? rest : rest.slice(0, comma);
  const options = comma < 0 ? '' : rest.slice(comma);
  const isIpv6 = target.startsWith('[');
  const match = (isIpv6 ? /^\[([^\]]+)\]:(.+)$/ : /^([^:]*):(.+)$/).exec(target);
  const [, host = '', port = ''] = match ?? [];
  if (match === null || host.length > LONGEST.host) {
    const what = isIpv6 ? 'IPv6 address' : target.startsWith(':') ? 'port in address' : 'address';
    throw bad(uri, `error parsing ${what} '${rest}'`);
  }
  return { host, port: port.slice(0, LONGEST.port), options };
}

function parseTo(uri: string, options: string): number | undefined {
  const match = /,to=([^,]*)/.exec(options);
  if (match === null) return undefined;
  const text = match[1] ?? '';
  if (!/^[-+]?\d+$/.test(text)) throw bad(uri, 'error parsing to= argument');
  return Math.min(Number(text), HIGHEST_PORT);
}

function flag(uri: string, options: string, name: string): boolean | undefined {
  const match = new RegExp(`,${name}([^,]*)`).exec(options);
  if (match === null) return undefined;
  const value = match[1] ?? '';
  if (value !== '' && value !== '=on' && value !== '=off') throw bad(uri, `error parsing '${name}' flag '${value}'`);
  return value !== '=off';
}

function bad(uri: string, why: string): HarnessError {
  return new HarnessError('transport/bad-uri', { uri, why });
}
