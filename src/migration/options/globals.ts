/**
 * `-global migration.NAME=VALUE` (spec/control.md §1.3, §2.2, §3): which option a name means. How its text is read
 * is `base/kind-text.ts`.
 */

import { HarnessError, isHarnessError } from '../../base/errors.ts';
import { textToJson } from '../../base/kind-text.ts';
import type { Kind } from '../../base/kinds.ts';
import { boolean } from '../../base/kinds.ts';
import { CAPABILITY_NAMES, type CapabilityName, capabilityRow } from './capabilities.ts';
import { PARAMETER_NAMES, type ParameterName, parameterRow } from './parameters.ts';
import { PROPERTIES, PROPERTY_NAMES, type PropertyName } from './properties.ts';

type Target =
  | { readonly type: 'capability'; readonly name: CapabilityName; readonly kind: Kind<unknown> }
  | { readonly type: 'parameter'; readonly name: ParameterName; readonly kind: Kind<unknown> }
  | { readonly type: 'property'; readonly name: PropertyName; readonly kind: Kind<unknown> };

/** One `-global` after reading: the option it sets and the value of that option's kind. */
export type GlobalSetting = Target & { readonly value: unknown };

const TARGETS: ReadonlyMap<string, Target> = new Map<string, Target>([
  ...named(
    CAPABILITY_NAMES,
    (name) => capabilityRow(name).global,
    (name) => ({ type: 'capability', name, kind: boolean }),
  ),
  ...named(
    PARAMETER_NAMES,
    (name) => parameterRow(name).global,
    (name) => ({ type: 'parameter', name, kind: parameterRow(name).kind }),
  ),
  ...named(
    PROPERTY_NAMES,
    (name) => name,
    (name) => ({ type: 'property', name, kind: PROPERTIES[name].kind }),
  ),
]);

/** Every name that `-global migration.NAME` accepts. */
export const GLOBAL_NAMES: readonly string[] = [...TARGETS.keys()];

/** Reads one `-global`; throws `qmp/generic` for an unknown name or a value of the wrong kind, ranges come later. */
export function readGlobal(name: string, text: string): GlobalSetting {
  try {
    const target = TARGETS.get(name);
    if (target === undefined) throw new HarnessError('qmp/generic', { text: `Property 'migration.${name}' not found` });
    return { ...target, value: target.kind.parse(textToJson(target.kind, name, text), name) };
  } catch (error) {
    if (!isHarnessError(error, 'qmp/generic')) throw error;
    throw new HarnessError(
      'qmp/generic',
      { text: `can't apply global migration.${name}=${text}: ${error.message}` },
      { cause: error },
    );
  }
}

function named<N extends string>(
  names: readonly N[],
  globalName: (name: N) => string | undefined,
  target: (name: N) => Target,
): [string, Target][] {
  return names.flatMap((name) => {
    const key = globalName(name);
    return key === undefined ? [] : [[key, target(name)] satisfies [string, Target]];
  });
}
