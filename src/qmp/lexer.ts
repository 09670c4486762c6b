/**
 * The lexer of QMP input: bytes in chunks of any size to JSON tokens, with single-quoted strings (spec/control.md §5.1).
 * One table, one step per byte. A byte that fits nowhere makes a `stray` token; after it everything is skipped up to
 * the next structural character, control character or impossible byte. Escapes and UTF-8 are the parser's business.
 */

import { LIMITS } from '../wire/limits.ts';

/** What a token is: a structural character, one of the three literals' kinds, or what could not be one. */
export type TokenType = '{' | '}' | '[' | ']' | ':' | ',' | 'string' | 'number' | 'keyword' | 'stray' | 'too-long';

/** Receives each token with its bytes; they are only valid during the call, and empty for structural characters. */
export type TokenSink = (type: TokenType, bytes: Buffer) => void;

const STATES = [
  'start',
  'recovery',
  'keyword',
  'double-quoted',
  'double-escape',
  'single-quoted',
  'single-escape',
  'minus',
  'zero',
  'digits',
  'point',
  'fraction',
  'exponent',
  'exponent-sign',
  'exponent-digits',
] as const;
type State = (typeof STATES)[number];

/** Steps that end a token or leave none; a step below their first is the number of the next state inside a token. */
const FIRST_ACTION = 64;
const SKIP = 64;
const STRUCTURAL = 65;
const STRAY = 66;
/** The token ends with this byte. */
const END_STRING = 67;
/** The token ended before this byte, which is looked at again. */
const END_NUMBER_BEFORE = 68;
const END_KEYWORD_BEFORE = 69;
/** Recovery is over, and this byte is looked at again. */
const RESYNC = 70;

const START = STATES.indexOf('start');
const RECOVERY = STATES.indexOf('recovery');
const STEPS = buildSteps();
const NOTHING = Buffer.alloc(0);
const FIRST_HELD_BYTES = 256;

/** Splits input into tokens; keeps at most one unfinished token between chunks. */
export class JsonLexer {
  readonly #sink: TokenSink;
  #state = START;
  /** The part of an unfinished token that came with earlier chunks. */
  #held = NOTHING;
  #heldBytes = 0;

  constructor(sink: TokenSink) {
    this.#sink = sink;
  }

  /** Takes the next chunk. The sink is called for every token that ends in it. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let state = this.#state;
    let tokenStart = 0;
    let limitAt = LIMITS.QMP_INPUT_BYTES - this.#heldBytes;
    let at = 0;
    while (at < bytes.length) {
      const step = STEPS[state * 256 + bytes[at]!]!;
      if (step < FIRST_ACTION) {
        if (state === START) {
          tokenStart = at;
          limitAt = at + LIMITS.QMP_INPUT_BYTES;
        }
        state = step;
        // A token over the limit is dropped as it arrives; recovery skips the rest of it.
        if (at >= limitAt && state !== RECOVERY) {
          this.#drop();
          this.#sink('too-long', NOTHING);
          state = RECOVERY;
        }
        at += 1;
        continue;
      }
      // An action: act, and go on at the start (or in recovery after a stray byte).
      if (step !== END_NUMBER_BEFORE && step !== END_KEYWORD_BEFORE && step !== RESYNC) at += 1;
      if (state === START) tokenStart = at - 1;
      this.#act(step, bytes, tokenStart, at);
      state = step === STRAY ? RECOVERY : START;
    }
    if (state > RECOVERY) this.#hold(bytes.subarray(tokenStart));
    this.#state = state;
  }

  #act(step: number, bytes: Buffer, start: number, end: number): void {
    // The table has this step for the six structural characters only.
    if (step === STRUCTURAL) this.#sink(String.fromCharCode(bytes[start]!) as TokenType, NOTHING);
    else if (step === STRAY) this.#sink('stray', this.#whole(bytes.subarray(start, end)));
    else if (step === END_STRING) this.#sink('string', this.#whole(bytes.subarray(start, end)));
    else if (step === END_NUMBER_BEFORE) this.#sink('number', this.#whole(bytes.subarray(start, end)));
    else if (step === END_KEYWORD_BEFORE) this.#sink('keyword', this.#whole(bytes.subarray(start, end)));
  }

  /** The token's bytes: what was held and the part in this chunk. */
  #whole(tail: Buffer): Buffer {
    if (this.#heldBytes === 0) return tail;
    this.#hold(tail);
    const whole = this.#held.subarray(0, this.#heldBytes);
    this.#drop();
    return whole;
  }

  /** Appends to the held part; doubling keeps the copying linear in the token's length. */
  #hold(part: Buffer): void {
    const needed = this.#heldBytes + part.length;
    if (needed > this.#held.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#held.length * 2, FIRST_HELD_BYTES));
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    part.copy(this.#held, this.#heldBytes);
    this.#heldBytes = needed;
  }

  #drop(): void {
    this.#held = NOTHING;
    this.#heldBytes = 0;
  }
}

/** Steps for every state and byte. What no rule mentions is stray; in recovery it is skipped. */
function buildSteps(): Uint8Array {
  const steps = new Uint8Array(STATES.length * 256).fill(STRAY);
  const rule = (from: State, bytes: readonly number[], to: State | number) => {
    const step = typeof to === 'number' ? to : STATES.indexOf(to);
    for (const byte of bytes) steps[STATES.indexOf(from) * 256 + byte] = step;
  };
  const structural = chars('{}[]:,');
  const digits = range(0x30, 0x39);
  const all = range(0, 0xff);

  rule('start', chars(' \t\r\n'), SKIP);
  rule('start', structural, STRUCTURAL);
  rule('start', range(0x61, 0x7a), 'keyword');
  rule('start', chars('"'), 'double-quoted');
  rule('start', chars("'"), 'single-quoted');
  rule('start', chars('-'), 'minus');
  rule('start', chars('0'), 'zero');
  rule('start', range(0x31, 0x39), 'digits');

  rule('recovery', all, 'recovery');
  rule('recovery', [...range(0, 0x1f), 0xfe, 0xff, ...structural], RESYNC);
  rule('recovery', chars('\t'), 'recovery');

  rule('keyword', all, END_KEYWORD_BEFORE);
  rule('keyword', range(0x61, 0x7a), 'keyword');

  // Control characters and bytes that no UTF-8 has cannot be in a string, not even after a backslash.
  const text = range(0x20, 0xfd);
  for (const kind of ['double', 'single'] as const) {
    rule(`${kind}-quoted`, text, `${kind}-quoted`);
    rule(`${kind}-quoted`, chars('\\'), `${kind}-escape`);
    rule(`${kind}-quoted`, chars(kind === 'double' ? '"' : "'"), END_STRING);
    rule(`${kind}-escape`, text, `${kind}-quoted`);
  }

  rule('minus', chars('0'), 'zero');
  rule('minus', range(0x31, 0x39), 'digits');
  for (const state of ['zero', 'digits', 'fraction', 'exponent-digits'] as const) rule(state, all, END_NUMBER_BEFORE);
  rule('zero', digits, STRAY);
  rule('digits', digits, 'digits');
  for (const state of ['zero', 'digits'] as const) rule(state, chars('.'), 'point');
  for (const state of ['point', 'fraction'] as const) rule(state, digits, 'fraction');
  // QEMU does not take 0e5 for a number; JSON does.
  for (const state of ['zero', 'digits', 'fraction'] as const) rule(state, chars('eE'), 'exponent');
  rule('exponent', chars('+-'), 'exponent-sign');
  for (const state of ['exponent', 'exponent-sign', 'exponent-digits'] as const) rule(state, digits, 'exponent-digits');
  return steps;
}

function chars(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
