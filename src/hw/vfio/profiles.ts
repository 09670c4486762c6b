/**
 * The emulated VFIO devices as data: which records each sends when, sized like the drivers they are modelled on
 * (spec/vfio.md §6). emulated-vfio.ts gives them life.
 */

import { RECORD_HEADER_BYTES, type TagName } from './vfio-records.ts';

/** How a device's data changes while it runs: not at all, in increments, or all of it at once. */
type Refresh = 'none' | 'increments' | 'whole';

/** One family of devices. Sizes are bytes; `state` is the property of that name. */
export interface VfioProfile {
  readonly name: string;
  readonly summary: string;
  /** Default of the property `state`. */
  readonly stateBytes: number;
  /** Default of the property `p2p`. */
  readonly p2p: boolean;
  /** What precopy sends first, before it is ready for switchover. */
  initial(stateBytes: number): readonly { readonly tag: TagName; readonly size: number }[];
  readonly refresh: Refresh;
  /** `whole`: at most once in this time (ms). */
  readonly refreshMs: number;
  /** What STOP_COPY sends after precopy, given the bytes that changed since they were last sent. */
  final(stateBytes: number, changedBytes: number): number;
  /** Sizes that it reports are off by up to this share. */
  readonly noise: number;
}

/** Bytes of an mlx5 STOP_COPY_SIZE record's payload. */
const SIZE_RECORD = { tag: 'STOP_COPY_SIZE', size: 8 } as const;

/** By name. */
export const PROFILES = {
  'tiny-match': {
    name: 'tiny-match',
    summary: 'like hisi_acc: 40 bytes that must match are checked as soon as they are in; 176 bytes in all',
    stateBytes: 176 - 40 - RECORD_HEADER_BYTES,
    p2p: false,
    initial: () => [{ tag: 'MATCH', size: 40 - RECORD_HEADER_BYTES }],
    refresh: 'none',
    refreshMs: 0,
    final: (stateBytes) => stateBytes,
    noise: 0,
  },
  'setup-then-state': {
    name: 'setup-then-state',
    summary: 'like QAT: a small configuration section first, then one buffer of at most 4 KiB',
    stateBytes: 4096 - 300 - RECORD_HEADER_BYTES,
    p2p: true,
    initial: () => [{ tag: 'SETUP', size: 300 - RECORD_HEADER_BYTES }],
    refresh: 'none',
    refreshMs: 0,
    final: (stateBytes) => stateBytes,
    noise: 0,
  },
  'mlx5-like': {
    name: 'mlx5-like',
    summary:
      'like mlx5: the size first, for which the destination allocates, a full image, increments, a last full image',
    stateBytes: 300 * 2 ** 20,
    p2p: true,
    initial: (stateBytes) => [SIZE_RECORD, { tag: 'IMAGE', size: stateBytes }],
    refresh: 'increments',
    refreshMs: 0,
    final: (stateBytes) => stateBytes,
    noise: 0,
  },
  'full-resend': {
    name: 'full-resend',
    summary: 'like virtio: the whole state is read again, at most once a second',
    stateBytes: 16 * 2 ** 20,
    p2p: true,
    initial: (stateBytes) => [SIZE_RECORD, { tag: 'IMAGE', size: stateBytes }],
    refresh: 'whole',
    refreshMs: 1000,
    final: (stateBytes) => stateBytes,
    noise: 0,
  },
  vgpu: {
    name: 'vgpu',
    summary: 'like a vGPU: little metadata, a large framebuffer with dirty tracking, and noisy statistics',
    stateBytes: 256 * 2 ** 20,
    p2p: true,
    initial: () => [SIZE_RECORD, { tag: 'SETUP', size: 4096 }],
    refresh: 'increments',
    refreshMs: 0,
    final: (_stateBytes, changedBytes) => Math.floor(changedBytes),
    noise: 0.3,
  },
} as const satisfies Record<string, VfioProfile>;
