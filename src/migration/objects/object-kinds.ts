/**
 * The objects that `-object` and object-add make (spec/control.md §5.4), one row per type: its arguments beside `id`, and
 * how the object is made of them. QEMU has more types; these are the ones that migration makes use of.
 */

import * as kinds from '../../base/kinds.ts';
import { arrayOf, enumOf, type Kind, optional, required, struct } from '../../base/kinds.ts';
import {
  checkBackend,
  type MemoryBackend,
  makeFileBackend,
  makeShmBackend,
  memoryHints,
  plainMemory,
} from './memory-backend.ts';
import { loadPskCredentials, type PskCredentials } from './tls-psk.ts';
import { loadX509Credentials, type X509Credentials } from './tls-x509.ts';

/** An authorization that lets in exactly one identity: the distinguished name of a client's certificate. */
interface SimpleAuthorization {
  readonly type: 'authz-simple';
  readonly identity: string;
}

/** What an object is, without the id by which it is known. */
export type ManagedObject = SimpleAuthorization | MemoryBackend | X509Credentials | PskCredentials;
/** The `qom-type` of an object. */
export type ObjectType = ManagedObject['type'];

interface ObjectRow<A> {
  readonly parent: string;
  readonly summary: string;
  readonly kind: Kind<A>;
  /** Refuses values that are of the kind and make no sense; before the id is looked at. */
  readonly check?: (args: A) => void;
  /** Makes the object; comes last and may read files. */
  readonly make: (args: A, id: string) => ManagedObject;
}

function row<A>(columns: ObjectRow<A>): ObjectRow<A> {
  return columns;
}

const memory = {
  dump: optional(kinds.boolean),
  merge: optional(kinds.boolean),
  prealloc: optional(kinds.boolean),
  reserve: optional(kinds.boolean),
  'host-nodes': optional(arrayOf(kinds.uint16)),
  policy: optional(enumOf(['default', 'preferred', 'bind', 'interleave'])),
  'prealloc-threads': optional(kinds.uint32),
  share: optional(kinds.boolean),
  size: required(kinds.size),
  'x-use-canonical-path-for-ramblock-id': optional(kinds.boolean),
};

const tls = {
  'verify-peer': optional(kinds.boolean),
  dir: optional(kinds.string),
  endpoint: optional(enumOf(['client', 'server'])),
  priority: optional(kinds.string),
};

const OBJECT_TYPES = {
  'authz-simple': row({
    parent: 'authz',
    summary: 'lets in clients whose certificate has exactly this distinguished name',
    kind: struct({ identity: required(kinds.string) }),
    make: ({ identity }) => ({ type: 'authz-simple', identity }),
  }),
  'memory-backend-file': row({
    parent: 'memory-backend',
    summary: 'RAM in a file',
    kind: struct({
      ...memory,
      align: optional(kinds.size),
      'discard-data': optional(kinds.boolean),
      'mem-path': required(kinds.string),
      offset: optional(kinds.size),
      pmem: optional(kinds.boolean),
      readonly: optional(kinds.boolean),
      rom: optional(enumOf(['auto', 'on', 'off'])),
    }),
    check: (args) => checkBackend('memory-backend-file', args),
    make: (args, id) => {
      const { size, share = false, 'mem-path': path, offset = 0n, align = 0n, readonly = false, rom = 'auto' } = args;
      return makeFileBackend({ id, size, share, path, offset, align, readonly, rom, hints: memoryHints(args) });
    },
  }),
  'memory-backend-memfd': row({
    parent: 'memory-backend',
    summary: 'RAM that is shared by default; here, where nobody can be handed its descriptor, as memory-backend-ram',
    kind: struct({ ...memory, hugetlb: optional(kinds.boolean), seal: optional(kinds.boolean) }),
    check: (args) => checkBackend('memory-backend-memfd', args),
    make: (args) => plainMemory('memory-backend-memfd', args, { share: true }),
  }),
  'memory-backend-ram': row({
    parent: 'memory-backend',
    summary: 'RAM under a name of its own',
    kind: struct(memory),
    check: (args) => checkBackend('memory-backend-ram', args),
    make: (args) => plainMemory('memory-backend-ram', args, { share: false }),
  }),
  'memory-backend-shm': row({
    parent: 'memory-backend',
    summary: 'RAM that is always shared; here, where nobody can be handed its descriptor, as memory-backend-ram',
    kind: struct(memory),
    check: (args) => checkBackend('memory-backend-shm', args),
    make: (args, id) => makeShmBackend({ id, size: args.size, share: args.share ?? true, hints: memoryHints(args) }),
  }),
  'tls-creds-psk': row({
    parent: 'tls-creds',
    summary: 'TLS by keys that both ends know: keys.psk in a directory',
    kind: struct({ ...tls, username: optional(kinds.string) }),
    make: loadPskCredentials,
  }),
  'tls-creds-x509': row({
    parent: 'tls-creds',
    summary: 'TLS by certificates: ca-cert.pem, server-cert.pem, server-key.pem (or client-…) in a directory',
    kind: struct({ ...tls, 'sanity-check': optional(kinds.boolean) }),
    make: loadX509Credentials,
  }),
} as const satisfies Readonly<Record<ObjectType, unknown>>;

/** Every type's name. */
export const OBJECT_TYPE_NAMES = Object.keys(OBJECT_TYPES) as ObjectType[];

/** A row with the type of its arguments forgotten: what its `kind` returns fits its `check` and `make`. */
export function objectRow(type: ObjectType): ObjectRow<object> {
  // TypeScript cannot pair a union's kinds with its functions; each row pairs them by itself.
  return OBJECT_TYPES[type] as unknown as ObjectRow<object>;
}
