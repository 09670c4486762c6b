/**
 * What `switchover check` says of two dumps: single differences, each with its weight in both directions. Forward is a
 * migration from A to B.
 */

/** Whether a difference breaks a migration; maybe where it depends on the device's state or on what the values mean. */
export type Breaks = 'yes' | 'maybe' | 'no';

/** From A to B, or from B to A. */
export type DumpDirection = keyof BothWays<unknown>;

/** One fact per direction. */
export interface BothWays<T> {
  readonly forward: T;
  readonly backward: T;
}

/** What can differ. */
export type DifferenceKind =
  | 'machine'
  | 'device-missing'
  | 'device-extra'
  | 'device-renamed'
  | 'name'
  | 'version'
  | 'minimum-version'
  | 'field-missing'
  | 'field-extra'
  | 'field-renamed'
  | 'field-order'
  | 'field-version'
  | 'field-exists'
  | 'field-unused'
  | 'size'
  | 'num'
  | 'struct'
  | 'subsection-missing'
  | 'subsection-extra'
  | 'subsection-renamed'
  | 'subsection-order';

/** One difference; missing is what only A has, extra what only B has. */
export interface Difference {
  /** Names from the device's type inwards, subsections in brackets; `#2` is the second of a name. */
  readonly path: string;
  readonly kind: DifferenceKind;
  /** What A has; null for nothing. */
  readonly a: string | number | boolean | null;
  readonly b: string | number | boolean | null;
  readonly breaks: BothWays<Breaks>;
  /** Why it breaks or does not. */
  readonly why: string;
}

/** Breaks, or not, in both directions alike. */
export function bothWays(breaks: Breaks): BothWays<Breaks> {
  return { forward: breaks, backward: breaks };
}

/** The lesser of two: what is not sent does not break. */
function weaker(left: Breaks, right: Breaks): Breaks {
  if (left === 'no' || right === 'no') return 'no';
  return left === 'maybe' || right === 'maybe' ? 'maybe' : 'yes';
}

/** `weaker` for both directions. */
export function weakerBothWays(left: BothWays<Breaks>, right: BothWays<Breaks>): BothWays<Breaks> {
  return { forward: weaker(left.forward, right.forward), backward: weaker(left.backward, right.backward) };
}
