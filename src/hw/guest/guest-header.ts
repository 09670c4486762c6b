/**
 * The record at the start of a guest's region (byte 64 of its first page) that makes its RAM self-describing: which
 * program, how large a region, which seed, and how many writes it made. Little-endian, like everything a guest stores.
 */

/** Byte offset of the record in the first page; the byte at offset 0 belongs to the sweep. */
const GUEST_HEADER_OFFSET = 64;
const HEADER_BYTES = 48;
/** Reads `SWITCHOV` in a hex dump. */
const MAGIC = 0x564f_4843_5449_5753n;
const FIELD = { MAGIC: 0, PROGRAM: 8, SEED: 12, PAGES: 16, SETTINGS: 24, COUNT: 32, COUNT_INVERSE: 40 } as const;

/** What a guest is, for comparison with what its RAM says. */
export interface GuestIdentity {
  readonly programId: number;
  readonly seed: number;
  readonly pageCount: number;
  /** A hash of the settings; a guest with other settings starts afresh. */
  readonly settingsHash: number;
}

/** The header record in a view of the first page of a guest's region. */
export class GuestHeader {
  readonly #view: DataView;

  /** `bytes` is the region, or at least its first page. */
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset + GUEST_HEADER_OFFSET, HEADER_BYTES);
  }

  /** True when this RAM was set up by a guest of exactly this identity. */
  matches(identity: GuestIdentity): boolean {
    return this.mismatch(identity) === undefined;
  }

  /** What about the record is not this identity's, in words; undefined when it is. */
  mismatch(identity: GuestIdentity): string | undefined {
    const view = this.#view;
    if (view.getBigUint64(FIELD.MAGIC, true) !== MAGIC)
      return 'there is no guest header: the guest never got ready in this RAM';
    const program = view.getUint32(FIELD.PROGRAM, true);
    if (program !== identity.programId) return `the header is of program ${program}, not ${identity.programId}`;
    const seed = view.getUint32(FIELD.SEED, true);
    if (seed !== identity.seed) return `the header says seed ${seed}, not ${identity.seed}`;
    const pages = Number(view.getBigUint64(FIELD.PAGES, true));
    if (pages !== identity.pageCount) return `the header says ${pages} pages, not ${identity.pageCount}`;
    if (view.getUint32(FIELD.SETTINGS, true) !== identity.settingsHash)
      return 'the header is of a guest with other settings';
    return undefined;
  }

  /** Number of writes the guest made; undefined when the record is torn. */
  get count(): number | undefined {
    const count = this.#view.getBigUint64(FIELD.COUNT, true);
    if (BigInt.asUintN(64, ~count) !== this.#view.getBigUint64(FIELD.COUNT_INVERSE, true)) return undefined;
    return Number(count);
  }

  /** Stores a new count; the caller marks the page. */
  setCount(count: number): void {
    const value = BigInt(count);
    this.#view.setBigUint64(FIELD.COUNT, value, true);
    this.#view.setBigUint64(FIELD.COUNT_INVERSE, BigInt.asUintN(64, ~value), true);
  }

  /** Stores an identity with a count of 0; the caller marks the page. */
  initialize(identity: GuestIdentity): void {
    const view = this.#view;
    view.setUint32(FIELD.PROGRAM, identity.programId, true);
    view.setUint32(FIELD.SEED, identity.seed, true);
    view.setBigUint64(FIELD.PAGES, BigInt(identity.pageCount), true);
    view.setUint32(FIELD.SETTINGS, identity.settingsHash, true);
    this.setCount(0);
    view.setBigUint64(FIELD.MAGIC, MAGIC, true);
  }

  /** Makes the record invalid; the caller marks the page. */
  erase(): void {
    this.#view.setBigUint64(FIELD.MAGIC, 0n, true);
  }
}

/** A 32-bit hash of setting names and values (FNV-1a over their text). */
export function hashSettings(settings: Readonly<Record<string, number>>): number {
  let hash = 0x811c_9dc5;
  for (const name of Object.keys(settings).sort()) {
    for (const byte of Buffer.from(`${name}=${settings[name]},`)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  }
  return hash >>> 0;
}
