/** The object around a QMP command: `{"execute": …, "arguments": …, "id": …}` and its mistakes (spec/control.md §5.1). */

import { HarnessError, messageOf, qmpClassOf } from '../base/errors.ts';
import { type JsonPrintable, type JsonValue, MONITOR_LAYOUT, stringify, stringifyLines } from '../base/json.ts';
import type { VmEvent } from '../migration/vm-control.ts';

type JsonObject = { readonly [key: string]: JsonValue };

/** A command as a client sent it, or why it is none; `id` is undefined when there was none to echo. */
export type Envelope =
  | { readonly id: JsonValue | undefined; readonly name: string; readonly oob: boolean; readonly args: JsonObject }
  | { readonly id: JsonValue | undefined; readonly error: HarnessError };

const NO_ARGUMENTS: JsonObject = {};

/** Reads the envelope. With `oobEnabled` the command may be named by `exec-oob` instead. */
export function readEnvelope(value: JsonValue, oobEnabled: boolean): Envelope {
  if (!isObject(value)) return { id: undefined, error: generic('QMP input must be a JSON object') };
  const { execute, 'exec-oob': execOob, arguments: args, id } = value;
  const mistake = findMistake(value, oobEnabled);
  if (mistake !== undefined) return { id, error: generic(mistake) };
  // findMistake has seen to it that exactly one of the two is a string, and that arguments are an object or absent.
  return {
    id,
    name: (execOob ?? execute) as string,
    oob: execOob !== undefined,
    args: (args as JsonObject | undefined) ?? NO_ARGUMENTS,
  };
}

/** The message of a successful reply. */
export function returnMessage(result: JsonPrintable, id: JsonValue | undefined): object {
  return { return: result, ...withId(id) };
}

/** The message of a failed command, with the error's QMP class. */
export function errorMessage(error: unknown, id: JsonValue | undefined): object {
  return { ...withId(id), error: { class: qmpClassOf(error), desc: messageOf(error) } };
}

/** The message of an event at `nowMs`, milliseconds since the epoch with fractions. */
export function eventMessage(event: VmEvent, nowMs: number): object {
  const seconds = Math.floor(nowMs / 1000);
  const timestamp = { seconds, microseconds: Math.floor((nowMs - seconds * 1000) * 1000) };
  return { timestamp, event: event.name, data: event.data };
}

/** Any message as it is sent: one line of ASCII that ends in CR LF, or with `pretty` several. */
export function printed(message: object, pretty: boolean): string {
  const text = pretty ? stringifyLines(message, MONITOR_LAYOUT).replaceAll('\n', '\r\n') : stringify(message);
  return `${text}\r\n`;
}

function findMistake(value: JsonObject, oobEnabled: boolean): string | undefined {
  const { execute, 'exec-oob': execOob, arguments: args } = value;
  if (execute !== undefined && typeof execute !== 'string') return `QMP input member 'execute' must be a string`;
  if (oobEnabled && execOob !== undefined && typeof execOob !== 'string') {
    return `QMP input member 'exec-oob' must be a string`;
  }
  if (args !== undefined && !isObject(args)) return `QMP input member 'arguments' must be an object`;
  const known = ['execute', 'arguments', 'id', ...(oobEnabled ? ['exec-oob'] : [])];
  const unexpected = Object.keys(value).find((key) => !known.includes(key));
  if (unexpected !== undefined) return `QMP input member '${unexpected}' is unexpected`;
  if (execute !== undefined && execOob !== undefined) return `QMP input member 'execute' clashes with 'exec-oob'`;
  if (execute === undefined && execOob === undefined) return `QMP input lacks member 'execute'`;
  return undefined;
}

function withId(id: JsonValue | undefined): { id?: JsonValue } {
  return id === undefined ? {} : { id };
}

function isObject(value: JsonValue): value is { [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function generic(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
