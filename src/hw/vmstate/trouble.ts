/**
 * How an error finds its path: whoever notices it knows only the value at hand, every aggregate that it passes on its way
 * up adds its own name, and `vmstate()` makes the HarnessError. Nothing is kept while all goes well.
 */

import { type ErrorCode, HarnessError, messageOf } from '../../base/errors.ts';
import type { StatePlace } from './schema.ts';

/** Codes of errors that have a path. */
type TroubleCode = Extract<ErrorCode, `vmstate/${string}`>;

/** Something wrong with one value of a state, on its way to the top. */
class StateTrouble extends Error {
  readonly code: TroubleCode;
  readonly facts: object;
  /** From the aggregate that was passed last down to the value; starts with `[` for an array's element. */
  path = '';
  /** The field that was handled last before, from the same aggregate down. */
  lastGood: string | undefined;

  constructor(code: TroubleCode, facts: object, cause?: unknown) {
    super(code, { cause });
    this.code = code;
    this.facts = facts;
  }
}

/** Where a state is read from or written to, and its versions. */
export interface StateOrigin {
  readonly place: Pick<StatePlace, 'version' | 'section'>;
  readonly name: string;
  readonly version: number;
}

/** Notices something: `facts` are the members of the error's details that are not its place. */
export function trouble(code: TroubleCode, facts: object, cause?: unknown): Error {
  return new StateTrouble(code, facts, cause);
}

/** Adds the name of a field or `[index]`, and what came before it in the same aggregate. Foreign errors are a hook's. */
export function within(error: unknown, name: string, previous: string | undefined, at = 0): Error {
  const found =
    error instanceof StateTrouble
      ? error
      : new StateTrouble('vmstate/hook', { at, hook: 'its code', why: messageOf(error) }, error);
  found.path = join(name, found.path);
  found.lastGood = found.lastGood === undefined ? previous : join(name, found.lastGood);
  return found;
}

/** The error that everybody else sees. */
export function finished(error: unknown, origin: StateOrigin): HarnessError {
  const found = within(error, origin.name, undefined) as StateTrouble; // what `within` returns
  return new HarnessError(
    found.code,
    // The codes' details are these members and the facts, which `trouble` was given for exactly this code.
    {
      section: origin.place.section ?? origin.name,
      field: found.path,
      streamVersion: origin.place.version,
      schemaVersion: origin.version,
      lastGood: found.lastGood ?? 'none',
      ...found.facts,
    } as never,
    found.cause === undefined ? undefined : { cause: found.cause },
  );
}

function join(name: string, rest: string): string {
  return rest === '' || rest.startsWith('[') ? `${name}${rest}` : `${name}/${rest}`;
}
