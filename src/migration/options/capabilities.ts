/**
 * Migration capabilities: one table (spec/control.md §1), and the rules between them (§1.1, §8.1) as a pure function.
 * The order of the rows is the order of query-migrate-capabilities. Whether this build can do what a capability
 * promises is a column here; it is judged in `options.ts`, after QEMU's own rules.
 */

import { HarnessError } from '../../base/errors.ts';
import { arrayOf, boolean, enumOf, required, struct } from '../../base/kinds.ts';
import type { RunState } from '../../hw/run-state.ts';
import { isRunning, type MigrationStatus } from '../status.ts';

interface CapabilityRow {
  /** First QEMU release that has it. */
  readonly since: string;
  readonly summary: string;
  /** Where it must be on; on the other side it is harmless unless both are named. */
  readonly side: 'source' | 'destination' | 'both' | 'each side for itself';
  /** Capabilities that must be on with it, and those that must not. */
  readonly requires?: readonly string[];
  readonly excludes?: readonly string[];
  /** What else it depends on, in words. */
  readonly needs?: string;
  /** On a destination it cannot be switched on once a listener is open. */
  readonly beforeIncoming?: true;
  /** Name for `-global migration.NAME=on`; absent when QEMU has none. */
  readonly global?: string;
  /** True when this build can do it; otherwise the reason why switching it on is refused. */
  readonly dataPath: true | string;
}

/** Not to be combined with background-snapshot, in the order in which they are named. */
const NOT_WITH_SNAPSHOT = [
  'postcopy-ram',
  'dirty-bitmaps',
  'postcopy-blocktime',
  'late-block-activate',
  'return-path',
  'multifd',
  'pause-before-switchover',
  'auto-converge',
  'release-ram',
  'rdma-pin-all',
  'xbzrle',
  'x-colo',
  'validate-uuid',
  'zero-copy-send',
] as const;

/** Every capability of QEMU 10.0, in QEMU's order. All are off at first. */
export const CAPABILITIES = {
  xbzrle: {
    since: '1.2',
    excludes: ['background-snapshot', 'zero-copy-send', 'multifd', 'mapped-ram'],
    summary: 'From the second pass on, send pages as deltas against a cache of what was sent before.',
    side: 'source',
    global: 'x-xbzrle',
    dataPath: true,
  },
  'rdma-pin-all': {
    since: '2.0',
    excludes: ['background-snapshot'],
    summary: 'Register all RAM up front with the RDMA transport.',
    side: 'both',
    global: 'x-rdma-pin-all',
    dataPath: 'there is no RDMA transport',
  },
  'auto-converge': {
    since: '1.6',
    excludes: ['background-snapshot', 'dirty-limit'],
    summary: 'Slow the vCPUs down when the guest dirties memory faster than it can be sent.',
    side: 'source',
    global: 'x-auto-converge',
    dataPath: true,
  },
  'zero-blocks': {
    since: '1.6',
    summary: 'Deprecated and without effect, as in QEMU 10.0: it belonged to the removed block migration.',
    side: 'source',
    global: 'x-zero-blocks',
    dataPath: true,
  },
  events: {
    since: '2.4',
    summary: 'Emit MIGRATION and MIGRATION_PASS events in this process.',
    side: 'each side for itself',
    global: 'x-events',
    dataPath: true,
  },
  'postcopy-ram': {
    since: '2.6',
    excludes: ['x-ignore-shared', 'multifd', 'background-snapshot', 'mapped-ram'],
    summary: 'Allow switching to postcopy: the guest runs on the destination before all its RAM is there.',
    side: 'both',
    global: 'x-postcopy-ram',
    dataPath: 'postcopy is not implemented',
  },
  'x-colo': {
    since: '2.8',
    excludes: ['background-snapshot'],
    needs: 'block replication',
    summary: 'Keep a second machine in step by continuous checkpoints.',
    side: 'both',
    global: 'x-colo',
    dataPath: 'checkpointing (COLO) is not implemented',
  },
  'release-ram': {
    since: '2.9',
    excludes: ['background-snapshot'],
    summary: 'In postcopy, discard pages on the source once they are sent.',
    side: 'source',
    global: 'x-release-ram',
    dataPath: 'postcopy is not implemented',
  },
  'return-path': {
    since: '2.10',
    excludes: ['background-snapshot'],
    summary: 'Open a channel back from the destination; the source waits for its verdict before it is done.',
    side: 'source',
    global: 'x-return-path',
    dataPath: true,
  },
  'pause-before-switchover': {
    since: '2.11',
    excludes: ['background-snapshot'],
    summary: 'Stop in status pre-switchover, guest stopped, until migrate-continue.',
    side: 'source',
    dataPath: true,
  },
  multifd: {
    since: '4.0',
    excludes: ['postcopy-ram', 'background-snapshot', 'xbzrle'],
    beforeIncoming: true,
    summary: 'Send RAM pages over several connections.',
    side: 'both',
    global: 'x-multifd',
    dataPath: true,
  },
  'dirty-bitmaps': {
    since: '2.12',
    excludes: ['background-snapshot'],
    summary: 'Migrate named dirty bitmaps of block devices.',
    side: 'source',
    dataPath: 'there are no block devices',
  },
  'postcopy-blocktime': {
    since: '3.0',
    excludes: ['background-snapshot'],
    summary: 'Measure how long vCPUs waited for pages in postcopy.',
    side: 'destination',
    dataPath: 'postcopy is not implemented',
  },
  'late-block-activate': {
    since: '3.0',
    excludes: ['background-snapshot'],
    summary: 'Without effect since QEMU 10.0, where images are always activated late.',
    side: 'destination',
    dataPath: true,
  },
  'x-ignore-shared': {
    since: '4.0',
    excludes: ['postcopy-ram'],
    summary: 'Do not send RAM that is shared with and backed by a named file.',
    side: 'both',
    dataPath: true,
  },
  'validate-uuid': {
    since: '4.2',
    excludes: ['background-snapshot'],
    summary: 'Send the UUID of the machine, so that the destination can refuse another one.',
    side: 'source',
    dataPath: true,
  },
  'background-snapshot': {
    since: '6.0',
    excludes: NOT_WITH_SNAPSHOT,
    needs: 'write protection by userfaultfd for all RAM',
    summary: 'Save the state of this moment to a stream while the guest runs on.',
    side: 'source',
    global: 'x-background-snapshot',
    dataPath: 'write tracking of RAM for snapshots is not implemented',
  },
  'zero-copy-send': {
    since: '7.1',
    requires: ['multifd'],
    excludes: ['background-snapshot', 'xbzrle'],
    needs: '`multifd-compression` none and no TLS',
    summary: 'Send multifd pages without a copy; here, without one in user space: the kernel makes its own.',
    side: 'source',
    global: 'x-zero-copy-send',
    dataPath: true,
  },
  'postcopy-preempt': {
    since: '7.1',
    requires: ['postcopy-ram'],
    beforeIncoming: true,
    summary: 'A second channel for pages the guest waits for in postcopy.',
    side: 'both',
    global: 'x-postcopy-preempt',
    dataPath: 'postcopy is not implemented',
  },
  'switchover-ack': {
    since: '8.1',
    requires: ['return-path'],
    summary: 'Do not switch over before the destination said that it is ready.',
    side: 'both',
    global: 'x-switchover-ack',
    dataPath: true,
  },
  'dirty-limit': {
    since: '8.1',
    excludes: ['auto-converge'],
    needs: 'a KVM dirty ring; here `-accel NAME,dirty-ring-size=N`',
    summary: 'Limit the dirty rate of each vCPU when the guest dirties memory faster than it can be sent.',
    side: 'source',
    global: 'x-dirty-limit',
    dataPath: true,
  },
  'mapped-ram': {
    since: '9.0',
    excludes: ['xbzrle', 'postcopy-ram'],
    summary: 'Write RAM to fixed offsets of a seekable file.',
    side: 'both',
    global: 'mapped-ram',
    dataPath: true,
  },
} as const satisfies Readonly<Record<string, CapabilityRow>>;

/** Capabilities older QEMUs had; here, as in QEMU 9.1 and later, their names are not accepted. */
export const REMOVED_CAPABILITIES = {
  compress: {
    since: '2.4',
    removed: '9.1',
    side: 'both',
    global: 'x-compress',
    summary: 'Compression of RAM pages, page by page, by worker threads.',
  },
  block: {
    since: '2.10',
    removed: '9.1',
    side: 'source',
    global: 'x-block',
    summary: 'Migration of the contents of block devices in the stream.',
  },
} as const;

/** The name of a capability. */
export type CapabilityName = keyof typeof CAPABILITIES;
/** Which capabilities are on. */
export type CapabilitySet = Readonly<Record<CapabilityName, boolean>>;
/** One entry of migrate-set-capabilities and of query-migrate-capabilities. */
export interface CapabilityStatus {
  readonly capability: CapabilityName;
  readonly state: boolean;
}

/** Every capability's name, in QEMU's order. */
export const CAPABILITY_NAMES = Object.keys(CAPABILITIES) as CapabilityName[];

/** Capabilities that change the stream, which says so: both sides must have them on, or both off. In the stream's order. */
export const VALIDATED_CAPABILITIES = ['x-ignore-shared', 'mapped-ram'] as const satisfies CapabilityName[];

/** A row with the optional columns visible, for code that walks the table. */
export function capabilityRow(name: CapabilityName): CapabilityRow {
  return CAPABILITIES[name];
}

/** The kind of migrate-set-capabilities' argument `capabilities`. */
export const capabilitiesKind = arrayOf(
  struct({ capability: required(enumOf(CAPABILITY_NAMES)), state: required(boolean) }),
);

/** What the rules look at besides the capabilities themselves. */
export interface CapabilityContext {
  readonly outgoingStatus: MigrationStatus;
  readonly runState: RunState;
  /** A socket listener for an incoming migration exists; false for exec:, fd: and file: (§1.1). */
  readonly incomingStarted: boolean;
  /** KVM with a dirty ring. */
  readonly kvmDirtyRing: boolean;
  /** Block replication is there. */
  readonly replication: boolean;
  /** Why the host cannot receive postcopy; undefined when it can. Asked only on a destination. */
  readonly postcopyProblem: string | undefined;
  /** What background snapshots lack; undefined when nothing. */
  readonly backgroundSnapshotProblem: 'kernel' | 'memory' | undefined;
}

/** What some rules depend on besides the machine: the parameters in force, and the legacy capability `compress`. */
interface CapabilityRuleContext extends CapabilityContext {
  readonly parameters: { readonly 'multifd-compression': string; readonly 'tls-creds': string };
  readonly isCompressOn?: boolean;
}

/** A machine at rest with no outgoing or incoming migration, on a host without a KVM dirty ring. */
export const IDLE_CONTEXT: CapabilityContext = {
  outgoingStatus: 'none',
  runState: 'prelaunch',
  incomingStarted: false,
  kvmDirtyRing: false,
  replication: true,
  postcopyProblem: undefined,
  backgroundSnapshotProblem: undefined,
};

/** What QEMU says wherever zero copy would meet compression, TLS, xbzrle or a single connection. */
export const ZERO_COPY_CONFLICT = 'Zero copy only available for non-compressed non-TLS multifd migration';

type Rule = (old: CapabilitySet, next: CapabilitySet, context: CapabilityRuleContext) => string | false;

/** The rows of §8.1 in their order; each gives the refusal's text, or false. */
const RULES: readonly Rule[] = [
  (_, __, context) => isRunning(context.outgoingStatus) && "There's a migration process in progress",
  (_, next, context) => next['x-colo'] && !context.replication && 'x-colo needs block replication, which is not there',
  (old, next, { runState, postcopyProblem }) =>
    next['postcopy-ram'] &&
    !old['postcopy-ram'] &&
    runState === 'inmigrate' &&
    postcopyProblem !== undefined &&
    `Postcopy is not supported: ${postcopyProblem}`,
  (_, next) => next['postcopy-ram'] && next['x-ignore-shared'] && 'Postcopy is not compatible with ignore-shared',
  (_, next) => next['postcopy-ram'] && next.multifd && 'Postcopy is not yet compatible with multifd',
  snapshotRule,
  zeroCopyRule,
  (_, next) => next['postcopy-preempt'] && !next['postcopy-ram'] && 'Postcopy preempt requires postcopy-ram',
  (old, next, context) =>
    tooLate('postcopy-preempt', old, next, context) && 'Postcopy preempt must be set before incoming starts',
  (old, next, context) => tooLate('multifd', old, next, context) && 'Multifd must be set before incoming starts',
  (_, next) =>
    next['switchover-ack'] && !next['return-path'] && "Capability 'switchover-ack' requires capability 'return-path'",
  (_, next) =>
    next['dirty-limit'] &&
    next['auto-converge'] &&
    'dirty-limit conflicts with auto-converge either of then available currently',
  (_, next, context) =>
    next['dirty-limit'] &&
    !context.kvmDirtyRing &&
    "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set",
  (_, next) => next.multifd && next.xbzrle && 'Multifd is not compatible with xbzrle',
  (_, next) => next['mapped-ram'] && next.xbzrle && 'Mapped-ram migration is incompatible with xbzrle',
  compressRule,
  (_, next) => next['mapped-ram'] && next['postcopy-ram'] && 'Mapped-ram migration is incompatible with postcopy',
];

/** The error of the first rule of §8.1 that going from `old` to `next` breaks, or undefined when QEMU would accept it. */
export function capsCheck(
  old: CapabilitySet,
  next: CapabilitySet,
  context: CapabilityRuleContext,
): HarnessError | undefined {
  for (const rule of RULES) {
    const text = rule(old, next, context);
    if (text !== false) return new HarnessError('qmp/generic', { text });
  }
  return undefined;
}

function snapshotRule(_: CapabilitySet, next: CapabilitySet, context: CapabilityContext): string | false {
  if (!next['background-snapshot']) return false;
  if (context.backgroundSnapshotProblem === 'kernel') return 'Background-snapshot is not supported by host kernel';
  if (context.backgroundSnapshotProblem === 'memory') {
    return 'Background-snapshot is not compatible with guest memory configuration';
  }
  const conflict = NOT_WITH_SNAPSHOT.find((name) => next[name]);
  return conflict !== undefined && `Background-snapshot is not compatible with ${conflict}`;
}

/** What QEMU up to 9.0 did not combine with `compress`. */
function compressRule(_: CapabilitySet, next: CapabilitySet, context: CapabilityRuleContext): string | false {
  if (context.isCompressOn !== true) return false;
  const others = [
    'multifd',
    'xbzrle',
    'background-snapshot',
    'zero-copy-send',
    'postcopy-preempt',
    'mapped-ram',
  ] as const;
  const conflict = others.find((name) => next[name]);
  return conflict !== undefined && `compress is not compatible with ${conflict}`;
}

function zeroCopyRule(_: CapabilitySet, next: CapabilitySet, { parameters }: CapabilityRuleContext): string | false {
  const plain = parameters['multifd-compression'] === 'none' && parameters['tls-creds'] === '';
  return next['zero-copy-send'] && !(next.multifd && !next.xbzrle && plain) && ZERO_COPY_CONFLICT;
}

/** The listener was opened without the capability, so its connections cannot be told apart any more. */
function tooLate(name: CapabilityName, old: CapabilitySet, next: CapabilitySet, context: CapabilityContext): boolean {
  return next[name] && !old[name] && context.incomingStarted;
}
