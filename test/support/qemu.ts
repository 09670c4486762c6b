/** A real QEMU as a peer. `-M none` is a whole one: it starts in 50 ms and migrates `ram`, `timer`, `globalstate`. */

import { spawnSync } from 'node:child_process';
import { commonArguments, type Peer, type PeerOptions, startPeerProcess } from './peer.ts';

/** The oracle; `.ci/install-qemu` brings it. */
export const QEMU = 'qemu-system-x86_64';

/** The installed version, such as `10.0.2`; undefined when there is no QEMU. */
export function qemuVersion(): string | undefined {
  const { stdout, status } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version (\d+(?:\.\d+)*)/.exec(stdout)?.[1] : undefined;
}

/**
 * For `describe.skipIf`: the reason why tests against a real QEMU cannot run here, undefined when they can.
 * In CI (`CI=true`) a missing QEMU is an error instead, so that they are never skipped silently.
 */
export function whyNoQemu(): string | undefined {
  const version = qemuVersion();
  if (version !== undefined && Number.parseInt(version, 10) >= 10) return undefined;
  const reason = `needs ${QEMU} >= 10, found ${version ?? 'none'}`;
  if (process.env['CI'] === 'true') throw new Error(`interop tests must run in CI: ${reason}`);
  return reason;
}

/** Starts QEMU and connects to its QMP socket; RAM is filled by `loadFile` (its loader device acts at start only). */
export function startQemu(options: PeerOptions): Promise<Peer> {
  return startPeerProcess({
    kind: 'qemu',
    command: QEMU,
    memory: options.memory,
    descriptors: options.descriptors,
    argumentsFor: (qmpPath) => ['-nodefaults', '-display', 'none', ...commonArguments(options, qmpPath)],
  });
}
