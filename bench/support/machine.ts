/** The machine a number was measured on: without it the number means nothing. */

import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { formatSize } from '../../src/base/units.ts';
import { qemuVersion } from '../../test/support/qemu.ts';

/** Description of the machine and of what ran on it. */
export interface Machine {
  readonly cpu: string;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly hypervisor: boolean;
  readonly hugePages: string;
  readonly node: string;
  readonly qemu: string;
  readonly loadAverage: number;
}

/** Describes this machine now. */
export function describeMachine(): Machine {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model ?? 'unknown',
    cpuCount: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    hypervisor: /^flags.* hypervisor/m.test(readOr('/proc/cpuinfo', '')),
    hugePages: /\[(\w+)\]/.exec(readOr('/sys/kernel/mm/transparent_hugepage/enabled', ''))?.[1] ?? 'unknown',
    node: process.version,
    qemu: qemuVersion() ?? 'none',
    loadAverage: loadavg()[0] ?? 0,
  };
}

/** The description in one line. */
export function machineLine(machine: Machine): string {
  const kind = machine.hypervisor ? 'a virtual machine' : 'bare metal';
  return (
    `${machine.cpuCount} × ${machine.cpu} (${kind}), ${formatSize(machine.memoryBytes)}, Linux ${machine.kernel}, ` +
    `huge pages ${machine.hugePages}, Node ${machine.node}, QEMU ${machine.qemu}, load ${machine.loadAverage.toFixed(2)}`
  );
}

function readOr(path: string, fallback: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return fallback; // Not every kernel has the file; the description says "unknown" then.
  }
}
