/** Our own machine as a peer: `switchover vm` in a process, with QEMU's command line. And either one by its name. */

import { fileURLToPath } from 'node:url';
import { commonArguments, type Peer, type PeerKind, type PeerOptions, startPeerProcess } from './peer.ts';
import { startQemu } from './qemu.ts';

const SWITCHOVER = fileURLToPath(new URL('../../bin/switchover.js', import.meta.url));

/** Starts `switchover vm` and connects to its QMP socket. */
function startSwitchoverVm(options: PeerOptions): Promise<Peer> {
  return startPeerProcess({
    kind: 'switchover',
    command: process.execPath,
    memory: options.memory,
    descriptors: options.descriptors,
    argumentsFor: (qmpPath) => [SWITCHOVER, 'vm', ...commonArguments(options, qmpPath)],
  });
}

/** Starts the one or the other. */
export function startPeer(kind: PeerKind, options: PeerOptions): Promise<Peer> {
  return kind === 'qemu' ? startQemu(options) : startSwitchoverVm(options);
}
