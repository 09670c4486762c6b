/**
 * What the control plane (QMP, CLI, tests) may do with a virtual machine. `Vm` implements it; the QMP layer knows
 * nothing else. Every method that fails throws a HarnessError whose message is what a QMP client reads.
 */

import type { RunState } from '../hw/run-state.ts';
import type { VfioState } from '../wire/vfio.ts';
import type { DirtyRateMeter } from './dirty-rate.ts';
import type { Ledger } from './ledger.ts';
import type { ObjectRegistry } from './objects/object-registry.ts';
import type { PropertyValues } from './options/properties.ts';
import type { SelfAnnouncer } from './self-announce.ts';
import type { MigrationStatus } from './status.ts';
import type { VcpuLimits } from './vcpu-limits.ts';

/** QMP events of a virtual machine (spec/control.md §5.7): name and data, `undefined` data is left out. */
export type VmEvent =
  | { readonly name: 'STOP' | 'RESUME'; readonly data?: undefined }
  | { readonly name: 'MIGRATION'; readonly data: { readonly status: MigrationStatus } }
  | { readonly name: 'MIGRATION_PASS'; readonly data: { readonly pass: number } }
  | {
      readonly name: 'VFIO_MIGRATION';
      readonly data: { readonly 'device-id': string; readonly 'qom-path': string; readonly 'device-state': VfioState };
    }
  | { readonly name: 'SHUTDOWN' | 'RESET'; readonly data: { readonly guest: boolean; readonly reason: string } };

/** An address for query-migrate's `socket-address`. */
export type SocketAddress =
  | {
      readonly type: 'inet';
      readonly host: string;
      readonly port: string;
      readonly ipv4?: boolean;
      readonly ipv6?: boolean;
    }
  | { readonly type: 'unix'; readonly path: string; readonly abstract?: boolean; readonly tight?: boolean };

/** The `ram` member of query-migrate (spec/control.md §5.3); bytes, pages, pages per second, Mbit/s as named there. */
export interface RamInfo {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  readonly duplicate: number;
  readonly normal: number;
  readonly 'normal-bytes': number;
  readonly 'dirty-pages-rate': number;
  readonly mbps: number;
  readonly 'dirty-sync-count': number;
  readonly 'postcopy-requests': number;
  readonly 'page-size': number;
  readonly 'multifd-bytes': number;
  readonly 'pages-per-second': number;
  readonly 'precopy-bytes': number;
  readonly 'downtime-bytes': number;
  readonly 'postcopy-bytes': number;
  readonly 'dirty-sync-missed-zero-copy': number;
}

/** What query-migrate tells beyond QEMU's reply, on machine types that QEMU does not have. */
export interface SwitchoverInfo {
  /** Whether the destination has proved to be a Switchover. */
  readonly peer: 'switchover' | 'unknown';
  /** VFIO devices: whether they hold switchover off, and when they were acknowledged (ms after the start). */
  readonly devices: readonly { readonly id: string; readonly ready: boolean; readonly 'ack-ms'?: number }[];
  /** With the capability switchover-ack: the devices whose ack has not come. */
  readonly 'ack-withheld-by'?: readonly string[];
  /** With VFIO devices: how long the guest would stand still if it were stopped now (ms), or was expected to. */
  readonly 'expected-downtime'?: number;
  /** What QEMU's rule, which knows RAM only, would have expected instead (ms). */
  readonly 'expected-downtime-by-ram'?: number;
  /** The account of the downtime, once it is over. */
  readonly ledger?: Ledger;
}

/** The reply of query-migrate (spec/control.md §5.3); members are absent when QEMU leaves them out. Times in ms. */
export interface MigrationInfo {
  readonly status?: MigrationStatus;
  readonly 'setup-time'?: number;
  readonly 'total-time'?: number;
  readonly 'expected-downtime'?: number;
  readonly downtime?: number;
  readonly 'cpu-throttle-percentage'?: number;
  /** With dirty-limit while limits are in service (µs). */
  readonly 'dirty-limit-throttle-time-per-round'?: number;
  readonly 'dirty-limit-ring-full-time'?: number;
  /** Payload bytes of VFIO devices, when there are any. */
  readonly vfio?: { readonly transferred: number };
  readonly ram?: RamInfo;
  readonly 'xbzrle-cache'?: XbzrleInfo;
  readonly compression?: CompressionInfo;
  readonly 'x-switchover'?: SwitchoverInfo;
  readonly 'error-desc'?: string;
  readonly 'blocked-reasons'?: readonly string[];
  readonly 'socket-address'?: readonly SocketAddress[];
}

/** The `xbzrle-cache` member of query-migrate, while xbzrle is on. */
export interface XbzrleInfo {
  /** Bytes. */
  readonly 'cache-size': bigint;
  /** Bytes of deltas, and a page for each overflow. */
  readonly bytes: number;
  /** Pages found in the cache. */
  readonly pages: number;
  readonly 'cache-miss': number;
  readonly 'cache-miss-rate': number;
  readonly 'encoding-rate': number;
  readonly overflow: number;
}

/** The `compression` member of query-migrate, while x-compress is on. */
export interface CompressionInfo {
  readonly pages: number;
  readonly busy: number;
  readonly 'busy-rate': number;
  /** Bytes. */
  readonly 'compressed-size': number;
  readonly 'compression-rate': number;
}

/** What only the command line sets and `info migrate` shows. */
export type MigrationGlobals = PropertyValues & { readonly 'only-migratable': boolean };

/** One entry of the `channels` argument of migrate and migrate-incoming (spec/control.md §5.2), already parsed from JSON. */
export interface MigrationChannel {
  readonly 'channel-type': 'main' | 'cpr';
  readonly addr: MigrationAddress;
}

/** The address union of a channel. */
export type MigrationAddress =
  | {
      readonly transport: 'socket';
      readonly type: 'inet';
      readonly host: string;
      /** As it was written; it is read when a socket is opened. */
      readonly port: string;
      /** The last port to try to listen on; undefined means the first is the only one. */
      readonly to?: number;
      /** IP versions asked for; undefined means as they come. */
      readonly ipv4?: boolean;
      readonly ipv6?: boolean;
      readonly keepAlive?: boolean;
    }
  | {
      readonly transport: 'socket';
      readonly type: 'unix';
      readonly path: string;
      /** Linux's abstract names; `tight`: not filled up with NULs. */
      readonly abstract?: { readonly tight: boolean };
    }
  | { readonly transport: 'socket'; readonly type: 'fd'; readonly str: string }
  | { readonly transport: 'exec'; readonly args: readonly string[] }
  | { readonly transport: 'file'; readonly filename: string; readonly offset: number };

/** Arguments of `migrate`; exactly one of uri and a non-empty channels. */
export interface MigrateArguments {
  readonly uri?: string;
  readonly channels?: readonly MigrationChannel[];
  readonly detach?: boolean;
  readonly resume?: boolean;
}

/** Arguments of `migrate-incoming`. */
export interface IncomingArguments {
  readonly uri?: string;
  readonly channels?: readonly MigrationChannel[];
  readonly 'exit-on-error'?: boolean;
}

/** A thread of query-migrationthreads; the id is the system's. */
export interface MigrationThread {
  readonly name: string;
  readonly 'thread-id': number;
}

/** A virtual machine as its control plane sees it. */
export interface VmControl {
  readonly name: string | undefined;
  /** Textual UUID, all zeros when none was configured. */
  readonly uuid: string;
  /** Machine type: `none` or `harness`. */
  readonly machineType: string;
  /** Bytes of guest RAM. */
  readonly ramBytes: number;
  /** The system's numbers of the vCPUs' threads, in the order of the vCPUs; waits until all have started. */
  vcpuThreadIds(): Promise<readonly number[]>;
  /** Limits on the dirty rate of vCPUs. */
  readonly vcpuLimits: Pick<VcpuLimits, 'set' | 'cancel' | 'query'>;
  /** Measures the dirty rate. */
  readonly dirtyRate: Pick<DirtyRateMeter, 'start' | 'info'>;
  /** Self-announcement. */
  readonly announcer: Pick<SelfAnnouncer, 'announce'>;
  /** What only the command line sets. */
  readonly globals: MigrationGlobals;
  /** What `-object` and object-add made. */
  readonly objects: ObjectRegistry;
  /** Adds a listener for events; the returned function removes it. */
  onEvent(listener: (event: VmEvent) => void): () => void;

  queryStatus(): { readonly status: RunState; readonly running: boolean };
  /** QMP stop: exact, after it resolves not one byte of guest RAM changes. */
  stop(): Promise<void>;
  cont(): Promise<void>;
  reset(): Promise<void>;
  /** Emits SHUTDOWN with the reason (`host-qmp-quit`, `host-signal`), cancels a migration, frees threads, then `exited` resolves. */
  quit(reason: 'host-qmp-quit' | 'host-signal'): Promise<void>;
  /** Resolves with the process exit code once the machine is gone: 0 after quit, 1 after a failed incoming migration with exit-on-error. */
  readonly exited: Promise<number>;
  /** Copies guest-physical memory; throws when the range is outside RAM. */
  readPhysical(address: number, length: number): Uint8Array;

  migrate(args: MigrateArguments): Promise<void>;
  migrateIncoming(args: IncomingArguments): Promise<void>;
  migrateCancel(): Promise<void>;
  migrateContinue(state: MigrationStatus): Promise<void>;
  /** True while a migration has a connection, or a listener, that `yank` can close. */
  canYank(): boolean;
  /** Closes them; a migration under way then fails. */
  yank(): void;
  queryMigrate(): MigrationInfo;
  /** query-migrationthreads: the threads that an outgoing migration has, by QEMU's names. */
  queryMigrationThreads(): readonly MigrationThread[];
  /** The list of query-migrate-capabilities, in QEMU's order. */
  queryCapabilities(): { readonly capability: string; readonly state: boolean }[];
  setCapabilities(list: readonly { readonly capability: string; readonly state: boolean }[]): void;
  /** The object of query-migrate-parameters; sizes are bigint so that 64 bits survive. */
  queryParameters(): Readonly<Record<string, string | number | bigint | boolean | object>>;
  /** Sets any subset; values are already of the parameter's JSON kind, ranges are checked here. */
  setParameters(values: Readonly<Record<string, unknown>>): void;
}
