/**
 * Every error this project raises on purpose: one table from code to sentence, QMP class and CLI exit code.
 * An error is a code, typed details and a sentence made from them; test `code`, never `instanceof`, because
 * errors cross threads (see `toWire` and `fromWire`).
 */

/** QMP error classes (spec/control.md §5.1). */
export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'KVMMissingCap';

/** Exit codes of every command: 0 ok, 1 an expectation failed, 2 usage, 3 environment missing, 4 migration failed. */
export const EXIT_CODES = { ok: 0, expectation: 1, usage: 2, environment: 3, migration: 4 } as const;
type ExitName = keyof typeof EXIT_CODES;

interface ErrorRow<D extends object> {
  readonly sentence: (details: D) => string;
  readonly exit: ExitName;
  readonly qmpClass: QmpErrorClass;
}

function row<D extends object>(
  exit: ExitName,
  sentence: (details: D) => string,
  qmpClass: QmpErrorClass = 'GenericError',
): ErrorRow<D> {
  return { sentence, exit, qmpClass };
}

/** Where in a stream something went wrong. `at` is the byte offset of the field, `section` names idstr, instance and version. */
export interface StreamPlace {
  readonly at: number;
  readonly section: string;
  readonly field: string;
}

const place = (d: StreamPlace) => `at byte ${d.at} (0x${d.at.toString(16)}), ${d.section}, reading ${d.field}`;
/** Where in a device's state something went wrong: `field` is the path from the state's name down. */
interface StateTroublePlace extends StreamPlace {
  readonly streamVersion: number;
  readonly schemaVersion: number;
  /** The field before it. */
  readonly lastGood: string;
}

const statePlace = (d: StateTroublePlace) =>
  `${place(d)} (state version ${d.streamVersion}, ours ${d.schemaVersion}; last good field: ${d.lastGood})`;
const hint = (d: { hint?: string }) => (d.hint === undefined ? '' : ` Hint: ${d.hint}.`);

/** The table; its rows also make docs/reference/errors.md. */
export const ERRORS = {
  'internal/assertion': row<{ why: string }>('migration', (d) => `internal error: ${d.why}`),
  'stream/truncated': row<StreamPlace & { needed: number; available: number; hint?: string }>(
    'migration',
    (d) => `stream truncated ${place(d)}: expected ${d.needed} bytes, got ${d.available}.${hint(d)}`,
  ),
  'stream/bad-value': row<StreamPlace & { expected: string; actual: string; hint?: string }>(
    'migration',
    (d) => `bad stream ${place(d)}: expected ${d.expected}, got ${d.actual}.${hint(d)}`,
  ),
  'stream/limit': row<StreamPlace & { limit: string; maximum: number; actual: number }>(
    'migration',
    (d) => `stream refused ${place(d)}: ${d.actual} is over the limit ${d.limit} = ${d.maximum}.`,
  ),
  'stream/unsupported': row<StreamPlace & { what: string; hint?: string }>(
    'migration',
    (d) => `stream not supported ${place(d)}: ${d.what}.${hint(d)}`,
  ),
  'vmstate/truncated': row<StateTroublePlace & { needed: number; available: number }>(
    'migration',
    (d) => `device state cut short ${statePlace(d)}: expected ${d.needed} bytes, got ${d.available}`,
  ),
  'vmstate/leftover': row<StateTroublePlace & { extra: number }>(
    'migration',
    (d) => `device state too long ${statePlace(d)}: expected its end, got ${d.extra} more bytes`,
  ),
  'dump/bad-value': row<{ file: string; at: string; expected: string; actual: string }>(
    'usage',
    (d) => `bad vmstate dump '${d.file}' at ${d.at}: expected ${d.expected}, got ${d.actual}`,
  ),
  'vmstate/bad-value': row<StateTroublePlace & { expected: string; actual: string }>(
    'migration',
    (d) => `bad device state ${statePlace(d)}: expected ${d.expected}, got ${d.actual}`,
  ),
  'vmstate/version': row<StateTroublePlace & { version: number; minimum: number; maximum: number }>(
    'migration',
    (d) =>
      `device state not supported ${statePlace(d)}: expected version ${d.minimum} to ${d.maximum}, got ${d.version}`,
  ),
  'vmstate/unknown-subsection': row<StateTroublePlace & { subsection: string; known: readonly string[] }>(
    'migration',
    (d) =>
      `device state not supported ${statePlace(d)}: expected subsection ${d.known.join(', ') || '(none)'}, got '${d.subsection}'`,
  ),
  'vmstate/limit': row<StateTroublePlace & { limit: string; maximum: number; actual: number }>(
    'migration',
    (d) => `device state refused ${statePlace(d)}: ${d.actual} is over the limit ${d.limit} = ${d.maximum}`,
  ),
  /** A predicate or postLoad of the device's own threw; the cause says where. */
  'vmstate/hook': row<StateTroublePlace & { hook: string; why: string }>(
    'migration',
    (d) => `device state refused by ${d.hook} ${statePlace(d)}: ${d.why}`,
  ),
  'vmstate/unsavable': row<{ section: string; field: string; expected: string; actual: string }>(
    'migration',
    (d) => `state of '${d.section}' cannot be saved, ${d.field}: expected ${d.expected}, got ${d.actual}`,
  ),
  /** `why` is QEMU's sentence, which clients match on. */
  'transport/bad-uri': row<{ uri: string; why: string }>('usage', (d) => d.why),
  'transport/unsupported': row<{ uri: string; why: string }>('migration', (d) => `cannot use '${d.uri}': ${d.why}`),
  'transport/connect': row<{ uri: string; why: string }>(
    'migration',
    (d) => `Failed to connect to '${d.uri}': ${d.why}`,
  ),
  'transport/resolve': row<{ why: string }>('migration', (d) => d.why),
  'transport/listen': row<{ uri: string; why: string }>('migration', (d) => `Failed to listen on '${d.uri}': ${d.why}`),
  /** `why` is QEMU's sentence, with the path or the command. */
  'transport/open': row<{ uri: string; why: string }>('migration', (d) => d.why),
  'transport/exec': row<{ uri: string; why: string }>('migration', (d) => `the command of '${d.uri}' ${d.why}`),
  'transport/tls': row<{ uri: string; why: string }>('migration', (d) => d.why),
  'transport/closed': row<{ uri: string; at: number; why: string }>(
    'migration',
    (d) => `connection '${d.uri}' closed after ${d.at} bytes: ${d.why}`,
  ),
  'transport/timeout': row<{ uri: string; what: string; waitedMs: number }>(
    'migration',
    (d) => `'${d.uri}': waited ${d.waitedMs} ms for ${d.what}`,
  ),
  'migration/cancelled': row<Record<never, never>>('migration', () => 'migration was cancelled'),
  'migration/peer-failed': row<{ what: string }>('migration', (d) => `the destination reported an error: ${d.what}`),
  'migration/return-path': row<{ at: number; field: string; expected: string; actual: string }>(
    'migration',
    (d) => `bad return-path message at byte ${d.at}, ${d.field}: expected ${d.expected}, got ${d.actual}`,
  ),
  'migration/illegal-move': row<{ side: string; from: string; to: string }>(
    'migration',
    (d) => `internal error: the ${d.side}'s migration status cannot go from '${d.from}' to '${d.to}'`,
  ),
  'ram/out-of-range': row<{ ramBlock: string; offset: number; length: number; blockLength: number }>(
    'migration',
    (d) => `RAM block '${d.ramBlock}': offset ${d.offset} length ${d.length} is outside its ${d.blockLength} bytes`,
  ),
  'ram/too-large': row<{ ramBlock: string; length: number; maximum: number }>(
    'environment',
    (d) => `RAM block '${d.ramBlock}' of ${d.length} bytes is larger than this Node can share (${d.maximum} bytes)`,
  ),
  'ram/file': row<{ path: string; why: string }>('environment', (d) => `the file '${d.path}' cannot be RAM: ${d.why}`),
  'thread/failed': row<{ thread: string; why: string }>('migration', (d) => `thread '${d.thread}' failed: ${d.why}`),
  'thread/timeout': row<{ thread: string; request: string; waitedMs: number }>(
    'migration',
    (d) => `thread '${d.thread}' did not answer '${d.request}' within ${d.waitedMs} ms`,
  ),
  'device/failed': row<{ device: string; handler: string; why: string }>(
    'migration',
    (d) => `device '${d.device}' failed in '${d.handler}': ${d.why}`,
  ),
  'device/stopped': row<{ device: string; address: number }>(
    'migration',
    (d) => `device '${d.device}' wrote guest memory at address ${d.address} while the machine was stopped`,
  ),
  'device/access': row<{ device: string; region: string; offset: number; size: number; regionBytes: number }>(
    'usage',
    (d) =>
      `device '${d.device}': no register of ${d.size} bytes at offset ${d.offset} of region '${d.region}', which has ${d.regionBytes} bytes`,
  ),
  'device/unknown': row<{ device: string; known: readonly string[] }>(
    'usage',
    (d) => `Device '${d.device}' not found; there are ${d.known.join(', ') || 'none'}`,
    'DeviceNotFound',
  ),
  'vfio/arc': row<{ device: string; from: string; to: string; target: string; now: string; why: string }>(
    'migration',
    (d) =>
      `VFIO device '${d.device}' on its way to ${d.target}: ${d.from} to ${d.to} failed, it is in ${d.now}: ${d.why}`,
  ),
  'vfio/refused': row<{ device: string; what: string; errno: string; expected: string; actual: string }>(
    'migration',
    (d) => `VFIO device '${d.device}', ${d.what}: ${d.errno}, expected ${d.expected}, got ${d.actual}`,
  ),
  'vfio/resources': row<{ device: string; bytes: number; leftBytes: number; limitBytes: number }>(
    'migration',
    (d) =>
      `VFIO device '${d.device}' needs ${d.bytes} bytes of the machine's resources, and ${d.leftBytes} of ${d.limitBytes} are left`,
  ),
  'vfio/data': row<{ device: string; at: number; field: string; expected: string; actual: string }>(
    'migration',
    (d) => `VFIO device '${d.device}': bad data at byte ${d.at}, ${d.field}: expected ${d.expected}, got ${d.actual}`,
  ),
  'vfio/transfer': row<{ device: string; why: string }>(
    'migration',
    (d) => `the state of device '${d.device}' cannot go over multifd channels: ${d.why}`,
  ),
  'vfio/ack': row<{ why: string }>('migration', (d) => `switchover-ack: ${d.why}`),
  'device/module': row<{ module: string; why: string }>('usage', (d) => `device module '${d.module}': ${d.why}`),
  'option/bad-value': row<{ option: string; expected: string; actual: string }>(
    'usage',
    (d) => `${d.option}: expected ${d.expected}, got ${d.actual}`,
  ),
  /** The text is the interface here: QEMU's clients match on it (spec/control.md §8.6). */
  'qmp/generic': row<{ text: string }>('usage', (d) => d.text),
  'qmp/command-not-found': row<{ text: string }>('usage', (d) => d.text, 'CommandNotFound'),
  'qmp/device-not-active': row<{ text: string }>('usage', (d) => d.text, 'DeviceNotActive'),
  'qmp/device-not-found': row<{ text: string }>('usage', (d) => d.text, 'DeviceNotFound'),
  'cli/usage': row<{ text: string }>('usage', (d) => d.text),
  'cli/environment': row<{ text: string }>('environment', (d) => d.text),
  /** A migration run by the command line that did not complete; the text says on which side and why. */
  'cli/migration': row<{ text: string }>('migration', (d) => d.text),
} as const;

/** Every error code of the project. */
export type ErrorCode = keyof typeof ERRORS;
/** The typed details of one error code. */
export type ErrorDetails<C extends ErrorCode> = (typeof ERRORS)[C] extends ErrorRow<infer D> ? D : never;

/** An error with a code from the table, its typed details, and the sentence made from them as `message`. */
export class HarnessError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'HarnessError';
  readonly code: C;
  readonly details: ErrorDetails<C>;

  constructor(code: C, details: ErrorDetails<C>, options?: { cause?: unknown }) {
    super(
      (ERRORS[code] as unknown as ErrorRow<ErrorDetails<C> & object>).sentence(details as ErrorDetails<C> & object),
      options,
    );
    this.code = code;
    this.details = details;
  }
}

/** True for any error of ours, or for one with exactly this code; works for errors rebuilt after crossing a thread. */
export function isHarnessError<C extends ErrorCode = ErrorCode>(error: unknown, code?: C): error is HarnessError<C> {
  return (
    error instanceof Error &&
    error.name === 'HarnessError' &&
    'code' in error &&
    (code === undefined || error.code === code)
  );
}

/** The QMP error class of any thrown value; foreign errors are GenericError. */
export function qmpClassOf(error: unknown): QmpErrorClass {
  return isHarnessError(error) ? ERRORS[error.code].qmpClass : 'GenericError';
}

/** The process exit code for any thrown value; foreign errors count as a failed migration. */
export function exitCodeOf(error: unknown): number {
  return EXIT_CODES[isHarnessError(error) ? ERRORS[error.code].exit : 'migration'];
}

/** The message of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error in a form that survives `postMessage`. */
export interface WireError {
  readonly code: ErrorCode | undefined;
  readonly details: object;
  readonly message: string;
  readonly stack: string | undefined;
}

/** Flattens any thrown value for a message to another thread. */
export function toWire(error: unknown): WireError {
  if (isHarnessError(error))
    return { code: error.code, details: error.details, message: error.message, stack: error.stack };
  return {
    code: undefined,
    details: {},
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
  };
}

/** Rebuilds an error that `toWire` flattened, with the stack of the thread it came from. */
export function fromWire(wire: WireError): Error {
  const error = wire.code === undefined ? new Error(wire.message) : new HarnessError(wire.code, wire.details as never);
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}
