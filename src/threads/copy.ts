/**
 * Copies between shared memories. JavaScript's own way is as atomic as its memory model asks for: word by word where both
 * places are aligned alike, and at a third of that speed where they are not.
 */

import { native } from './native.ts';
import type { PinnedBytes } from './segments.ts';

/** From so many bytes on, libc's copy is worth the call. */
const NATIVE_BYTES = 2048;
/** Places whose addresses differ by a multiple of this are aligned alike. */
const WORD_BYTES = 8;

/** Copies `length` bytes, which both memories have, between places that do not overlap. */
export function copyPinned(to: PinnedBytes, toAt: number, from: PinnedBytes, fromAt: number, length: number): void {
  const [target, source] = [to.address + toAt, from.address + fromAt];
  const isNative = length >= NATIVE_BYTES && to.address !== 0 && from.address !== 0;
  if (isNative && (target - source) % WORD_BYTES !== 0) native?.copy(target, source, length);
  else to.bytes.set(from.bytes.subarray(fromAt, fromAt + length), toAt);
}

/** Copies `from` to the start of `to`, views of shared memory that do not overlap. Throws RangeError where `to` is shorter. */
export function copyBytes(to: Uint8Array, from: Uint8Array): void {
  if (native === undefined || from.length < NATIVE_BYTES || from.length > to.length) to.set(from);
  else native.copy(native.addressOf(to), native.addressOf(from), from.length);
}
