/**
 * The `channels` argument of migrate and migrate-incoming (spec/control.md §5.2): QEMU's whole address union is
 * understood, so that mistakes get QEMU's messages; what no transport here can do is refused by name.
 */

import { HarnessError } from '../base/errors.ts';
import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, type KindValue, optional, required, struct, union } from '../base/kinds.ts';
import { NO_VSOCK } from '../migration/transport/address.ts';
import type { MigrationAddress, MigrationChannel } from '../migration/vm-control.ts';

const inet = struct({
  host: required(kinds.string),
  port: required(kinds.string),
  numeric: optional(kinds.boolean),
  to: optional(kinds.uint16),
  ipv4: optional(kinds.boolean),
  ipv6: optional(kinds.boolean),
  'keep-alive': optional(kinds.boolean),
  mptcp: optional(kinds.boolean),
});

/** The address of a socket. */
export const socketKind = union('type', {
  inet,
  unix: struct({ path: required(kinds.string), abstract: optional(kinds.boolean), tight: optional(kinds.boolean) }),
  vsock: struct({ cid: required(kinds.string), port: required(kinds.string) }),
  fd: struct({ str: required(kinds.string) }),
});

const addressKind = union('transport', {
  socket: socketKind,
  exec: struct({ args: required(arrayOf(kinds.string)) }),
  rdma: inet,
  file: struct({ filename: required(kinds.string), offset: required(kinds.uint64) }),
});

/** The kind of one channel. */
export const channelKind = struct({ 'channel-type': required(enumOf(['main', 'cpr'])), addr: required(addressKind) });

/** The kind of a `channels` argument. */
export const channelsKind = arrayOf(channelKind);

/** The parsed channels as the machine takes them. Throws for addresses that no transport here can use. */
export function toChannels(channels: KindValue<typeof channelsKind>): MigrationChannel[] {
  return channels.map(({ 'channel-type': type, addr }) => ({ 'channel-type': type, addr: toAddress(addr) }));
}

function toAddress(addr: KindValue<typeof addressKind>): MigrationAddress {
  switch (addr.transport) {
    case 'exec':
      return addr;
    case 'file':
      if (addr.offset > BigInt(Number.MAX_SAFE_INTEGER))
        throw unsupported(`file:${addr.filename}`, 'the offset is too large');
      return { transport: 'file', filename: addr.filename, offset: Number(addr.offset) };
    case 'rdma':
      throw unsupported(`rdma:${addr.host}:${addr.port}`, 'there is no RDMA transport');
    case 'socket':
      return toSocket(addr);
  }
}

function toSocket(addr: KindValue<typeof socketKind>): MigrationAddress {
  switch (addr.type) {
    case 'inet':
      return toInet(addr);
    case 'unix':
      return {
        transport: 'socket',
        type: 'unix',
        path: addr.path,
        ...(addr.abstract === true ? { abstract: { tight: addr.tight ?? true } } : {}),
      };
    case 'vsock':
      throw unsupported(`vsock:${addr.cid}:${addr.port}`, NO_VSOCK);
    case 'fd':
      return { transport: 'socket', type: 'fd', str: addr.str };
  }
}

/** `numeric` and `mptcp` are left to the system: addresses are tried as numbers first, and multipath falls back to TCP. */
function toInet({ host, port, to, ipv4, ipv6, 'keep-alive': keepAlive }: KindValue<typeof inet>): MigrationAddress {
  return {
    transport: 'socket',
    type: 'inet',
    host,
    port,
    ...(to === undefined ? {} : { to }),
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    ...(keepAlive === undefined ? {} : { keepAlive }),
  };
}

function unsupported(uri: string, why: string): HarnessError {
  return new HarnessError('transport/unsupported', { uri, why });
}
