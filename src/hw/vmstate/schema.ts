/**
 * What the rest of the machine needs of a device's state description: bytes out, bytes in, how long it is on a stream,
 * and how it is described there. `vmstate()` makes them.
 */

/** Where in a stream the bytes to decode stand; for errors. */
export interface StatePlace {
  /** Version of the section that carries them. */
  readonly version: number;
  /** Stream offset of the first byte; default 0. */
  readonly offset?: number;
  /** The section, as errors name it; default the schema's name. */
  readonly section?: string;
}

/** What `extent` asks of its driver: bytes that belong to the state, or a look at bytes that may not. */
export type ExtentStep = { readonly take: number } | { readonly peek: number };

/**
 * One device's (or subsection's) members of the vmdescription JSON, in QEMU's key order (spec/wire.md §9.9). A queue's
 * field has its elements' members in `elements`: QEMU writes them into the field itself, where their keys repeat.
 */
export interface DescribedState {
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields: readonly object[];
  readonly subsections?: readonly object[];
}

/** What QEMU's `-dump-vmstate` tells of a field's value: how many there are, bytes of one, and what it is made of. */
export interface DumpedValue {
  readonly num?: number;
  /** 0 where it depends on the state; of a struct the bytes in QEMU's memory, which the stream does not have. */
  readonly size: number;
  readonly Description?: DumpedState;
}

/** One field in QEMU's `-dump-vmstate`, in its key order. */
export interface DumpedField extends DumpedValue {
  readonly field: string;
  /** The first version of the state that has it. */
  readonly version_id: number;
  /** Whether a predicate decides instead of the version. */
  readonly field_exists: boolean;
}

/** A state, struct or subsection in QEMU's `-dump-vmstate`, in its key order. */
export interface DumpedState {
  readonly name: string;
  readonly version_id: number;
  readonly minimum_version_id: number;
  readonly Fields?: readonly DumpedField[];
  readonly Subsections?: readonly DumpedState[];
}

/** A device's state description. */
export interface StateSchema<S> {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  /** Higher goes first (spec/wire.md §9.7). */
  readonly priority: number;
  /** The field because of which no state can be sent, if there is one: a file descriptor. */
  readonly descriptorField?: string | undefined;
  /** Bytes of every state; undefined where that depends on the state. */
  readonly size: number | undefined;
  /** All fields and needed subsections, at the start of `into` where that has room, else in an ArrayBuffer of their own. */
  encode(state: S, into?: Uint8Array): Uint8Array;
  /** The state in `bytes`, all of them. Throws `vmstate/…` naming path, offset, versions, expected and actual. */
  decode(bytes: Uint8Array, place: StatePlace): S;
  /** Finds where the state ends on a stream: yields what to read next and is given those bytes. */
  extent(version: number, place?: Omit<StatePlace, 'version'>): Generator<ExtentStep, void, Uint8Array>;
  describe(state: S): DescribedState;
  /** What `-dump-vmstate` tells of it: all that can be there, whatever the state. */
  dump(): DumpedState;
}
