/**
 * The migration options of one process: capabilities, parameters and properties, shared by both directions
 * (spec/control.md §1–§3). A change is judged by QEMU's rules first, in QEMU's order; only what QEMU would accept is then
 * refused if this build has no data path for it. A migration works with a `snapshot`, and asks for `liveParameters`.
 */

import { HarnessError } from '../../base/errors.ts';
import type { JsonValue } from '../../base/json.ts';
import { isRunning } from '../status.ts';
import {
  CAPABILITIES,
  CAPABILITY_NAMES,
  type CapabilityContext,
  type CapabilityName,
  type CapabilitySet,
  type CapabilityStatus,
  capabilitiesKind,
  capsCheck,
  IDLE_CONTEXT,
} from './capabilities.ts';
import { readGlobal } from './globals.ts';
import { paramsCheck } from './parameter-checks.ts';
import {
  INITIAL_PARAMETERS,
  PARAMETER_NAMES,
  type ParameterName,
  type ParameterValue,
  type ParameterValues,
  parameterRow,
  parametersKind,
} from './parameters.ts';
import { INITIAL_PROPERTIES, type PropertyValues, propertyProblem } from './properties.ts';

/** Parameters that a running migration must look at again; bytes per second (0 = no limit or measured) and ms. */
export interface LiveParameters {
  readonly maxBandwidth: number;
  readonly availSwitchoverBandwidth: number;
  readonly downtimeLimitMs: number;
}

/** The parameters of TLS: ids of objects and a host's name, empty where there is none. */
export interface TlsParameters {
  readonly credentials: string;
  readonly hostname: string;
  readonly authorization: string;
}

/** The parameters of auto-converge (percentages), looked at again at every check. */
export interface ThrottleParameters {
  /** Share of the sent bytes that the guest must dirty again to be throttled. */
  readonly threshold: number;
  readonly initial: number;
  readonly increment: number;
  readonly maximum: number;
  readonly tailslow: boolean;
}

/** The parameters of dirty-limit, looked at again whenever they matter. */
export interface DirtyLimitParameters {
  readonly mibPerSecond: bigint;
  /** How often rates are measured. */
  readonly periodMs: number;
}

/** When rounds of self-announcement come (ms) and how many there are; numbers that make no sense are tolerated, as in QEMU. */
export interface AnnounceParameters {
  readonly initial: bigint;
  readonly max: bigint;
  readonly rounds: bigint;
  readonly step: bigint;
}

/** What one migration works with; later changes do not reach it. */
export interface MigrationOptionsSnapshot extends LiveParameters {
  readonly capabilities: CapabilitySet;
  readonly mode: ParameterValue<'mode'>;
  readonly zeroPageDetection: ParameterValue<'zero-page-detection'>;
  readonly xbzrleCacheBytes: bigint;
  /** For the extra handles of a mapped-ram file. */
  readonly directIo: boolean;
  readonly multifd: {
    readonly channels: number;
    readonly compression: ParameterValue<'multifd-compression'>;
    /** Of that compression. */
    readonly level: number;
  };
  readonly properties: PropertyValues;
}

/** The state between two changes; replaced as a whole, so that a refused change leaves nothing behind. */
interface OptionsState {
  readonly capabilities: CapabilitySet;
  readonly parameters: ParameterValues;
  readonly properties: PropertyValues;
}

/** Options as they are now; every setter is all-or-nothing and throws `qmp/generic` with what a QMP client reads. */
export class MigrationOptions {
  readonly #warn: (text: string) => void;
  #state: OptionsState = {
    capabilities: noCapabilities(),
    parameters: INITIAL_PARAMETERS,
    properties: INITIAL_PROPERTIES,
  };

  /** `warn` gets QEMU's warnings, without the word; by default they go to stderr as `warning: …`. */
  constructor(options: { readonly warn?: (text: string) => void } = {}) {
    this.#warn = options.warn ?? ((text) => process.stderr.write(`warning: ${text}\n`));
  }

  /** Is a capability on now? */
  isOn(name: CapabilityName): boolean {
    return this.#state.capabilities[name];
  }

  /** All capabilities in QEMU's order. */
  queryCapabilities(): CapabilityStatus[] {
    return CAPABILITY_NAMES.map((capability) => ({ capability, state: this.isOn(capability) }));
  }

  /** Applies a list, all or nothing; later entries win. */
  setCapabilities(
    list: readonly { readonly capability: string; readonly state: boolean }[],
    context: CapabilityContext,
  ): void {
    const changes = capabilitiesKind.parse(
      list.map(({ capability, state }) => ({ capability, state })),
      'capabilities',
    );
    const next = withCapabilities(this.#state.capabilities, changes);
    this.#obeyCapabilityRules({ ...this.#state, capabilities: next }, context);
    refuseCapabilitiesWithoutDataPath(next);
    this.#state = { ...this.#state, capabilities: next };
  }

  /** All parameters in QEMU's order: sizes and 64-bit values as bigint; block-bitmap-mapping only once it was set. */
  queryParameters(): ParameterValues {
    return { ...this.#state.parameters };
  }

  /** Sets a subset, all or nothing. Members that are undefined are left out; plain integers will do for bigints. */
  setParameters(values: Readonly<Record<string, unknown>>): void {
    const parameters = withParameters(this.#state.parameters, values);
    obeyParameterRules(this.#state.parameters, { ...this.#state, parameters });
    refuseParametersWithoutDataPath(parameters);
    this.#state = { ...this.#state, parameters };
  }

  /** One `-global migration.NAME=VALUE`, checked at once together with everything set before. */
  setGlobal(name: string, text: string, context: CapabilityContext = IDLE_CONTEXT): void {
    this.setGlobals([{ name, text }], context);
  }

  /** All `-global migration.NAME=VALUE` of a command line; relations are checked after the last, in any order given. */
  setGlobals(
    globals: readonly { readonly name: string; readonly text: string }[],
    context: CapabilityContext = IDLE_CONTEXT,
  ): void {
    let next = this.#state;
    for (const { name, text } of globals) next = withGlobal(next, name, text);
    const problem = propertyProblem(next.properties);
    if (problem !== undefined) throw new HarnessError('qmp/generic', { text: problem });
    obeyParameterRules(this.#state.parameters, next);
    this.#obeyCapabilityRules(next, context);
    refuseParametersWithoutDataPath(next.parameters);
    refuseCapabilitiesWithoutDataPath(next.capabilities);
    this.#state = next;
  }

  /** The options of a migration that starts now. */
  snapshot(): MigrationOptionsSnapshot {
    const { capabilities, parameters, properties } = this.#state;
    return Object.freeze({
      ...this.liveParameters(),
      capabilities: Object.freeze({ ...capabilities }),
      mode: parameters.mode,
      zeroPageDetection: parameters['zero-page-detection'],
      xbzrleCacheBytes: parameters['xbzrle-cache-size'],
      directIo: parameters['direct-io'],
      multifd: {
        channels: parameters['multifd-channels'],
        compression: parameters['multifd-compression'],
        level: parameters[parameters['multifd-compression'] === 'zlib' ? 'multifd-zlib-level' : 'multifd-zstd-level'],
      },
      properties: Object.freeze({ ...properties }),
    });
  }

  /** The parameters whose changes reach a running migration, as they are at this moment. */
  liveParameters(): LiveParameters {
    const { parameters } = this.#state;
    return {
      maxBandwidth: Number(parameters['max-bandwidth']),
      availSwitchoverBandwidth: Number(parameters['avail-switchover-bandwidth']),
      downtimeLimitMs: Number(parameters['downtime-limit']),
    };
  }

  /** Does every channel go through TLS? */
  get hasTls(): boolean {
    return this.tlsParameters().credentials !== '';
  }

  /** The parameters of TLS as they are at this moment. */
  tlsParameters(): TlsParameters {
    const { parameters } = this.#state;
    return {
      credentials: parameters['tls-creds'],
      hostname: parameters['tls-hostname'],
      authorization: parameters['tls-authz'],
    };
  }

  /** The parameters of auto-converge as they are at this moment. */
  throttleParameters(): ThrottleParameters {
    const { parameters } = this.#state;
    return {
      threshold: parameters['throttle-trigger-threshold'],
      initial: parameters['cpu-throttle-initial'],
      increment: parameters['cpu-throttle-increment'],
      maximum: parameters['max-cpu-throttle'],
      tailslow: parameters['cpu-throttle-tailslow'],
    };
  }

  /** The parameters of dirty-limit as they are at this moment. */
  dirtyLimitParameters(): DirtyLimitParameters {
    const { parameters } = this.#state;
    return {
      mibPerSecond: parameters['vcpu-dirty-limit'],
      periodMs: Number(parameters['x-vcpu-dirty-limit-period']),
    };
  }

  /** The parameters of self-announcement as they are at this moment. */
  announceParameters(): AnnounceParameters {
    const { parameters } = this.#state;
    return {
      initial: parameters['announce-initial'],
      max: parameters['announce-max'],
      rounds: parameters['announce-rounds'],
      step: parameters['announce-step'],
    };
  }

  #obeyCapabilityRules({ capabilities: next, parameters, properties }: OptionsState, context: CapabilityContext): void {
    // QEMU warns on every set that leaves it on while none is running, also when a later rule refuses the set.
    if (next['zero-blocks'] && !isRunning(context.outgoingStatus)) this.#warn('zero-blocks capability is deprecated');
    const { capabilities: old } = this.#state;
    const refusal = capsCheck(old, next, { ...context, parameters, isCompressOn: properties['x-compress'] });
    if (refusal !== undefined) throw refusal;
  }
}

function noCapabilities(): CapabilitySet {
  // One entry for every row of the table.
  return Object.fromEntries(CAPABILITY_NAMES.map((name) => [name, false])) as Record<CapabilityName, boolean>;
}

function withCapabilities(current: CapabilitySet, changes: readonly CapabilityStatus[]): CapabilitySet {
  return { ...current, ...Object.fromEntries(changes.map(({ capability, state }) => [capability, state])) };
}

function withParameters(current: ParameterValues, values: Readonly<Record<string, unknown>>): ParameterValues {
  const changes = parametersKind.parse(asJson(values), '');
  const merged = { ...current, ...changes };
  // The table's order, also for block-bitmap-mapping, which comes late.
  const inOrder = PARAMETER_NAMES.filter((name) => merged[name] !== undefined).map((name) => [name, merged[name]]);
  return Object.fromEntries(inOrder) as unknown as ParameterValues;
}

function withGlobal(state: OptionsState, name: string, text: string): OptionsState {
  const setting = readGlobal(name, text);
  switch (setting.type) {
    case 'capability':
      return { ...state, capabilities: { ...state.capabilities, [setting.name]: setting.value === true } };
    case 'parameter':
      return { ...state, parameters: withParameters(state.parameters, { [setting.name]: setting.value }) };
    case 'property':
      return { ...state, properties: { ...state.properties, [setting.name]: setting.value } };
    default:
      return setting satisfies never;
  }
}

function obeyParameterRules(old: ParameterValues, { parameters, capabilities }: OptionsState): void {
  const refusal = paramsCheck(old, parameters, { capabilities });
  if (refusal !== undefined) throw refusal;
}

function refuseCapabilitiesWithoutDataPath(capabilities: CapabilitySet): void {
  for (const name of CAPABILITY_NAMES) {
    const { dataPath } = CAPABILITIES[name];
    if (dataPath === true || !capabilities[name]) continue;
    throw new HarnessError('qmp/generic', {
      text: `Capability '${name}' cannot be switched on: this build has no data path for it yet (${dataPath})`,
    });
  }
}

function refuseParametersWithoutDataPath(parameters: ParameterValues): void {
  for (const name of PARAMETER_NAMES) checkEffect(name, parameters);
}

function checkEffect<N extends ParameterName>(name: N, parameters: ParameterValues): void {
  const { effect } = parameterRow(name);
  const value = (parameters as { readonly [K in ParameterName]?: ParameterValue<K> })[name];
  if (typeof effect === 'string' || value === undefined || effect.accepts(value)) return;
  throw new HarnessError('qmp/generic', {
    text: `Parameter '${name}' cannot be set to this value: this build has no data path for it yet (${effect.reason})`,
  });
}

/** Back to JSON as the kinds read it: values that were parsed already pass a second time unchanged. */
function asJson(value: unknown): JsonValue {
  switch (typeof value) {
    case 'number':
      return Number.isSafeInteger(value) ? BigInt(value) : value;
    case 'string':
    case 'boolean':
    case 'bigint':
      return value;
    case 'object':
      if (value === null) return null;
      if (Array.isArray(value)) return value.map(asJson);
      return Object.fromEntries(givenMembers(value).map(([key, member]) => [key, asJson(member)]));
    default:
      throw new HarnessError('qmp/generic', { text: `A ${typeof value} is not a value for a migration parameter` });
  }
}

function givenMembers(value: object): [string, unknown][] {
  return Object.entries(value).filter(([, member]) => member !== undefined);
}
