/** Replies of the queries that say what this program is, rather than how its machine fares (spec/control.md §5.1, §5.4). */

/** The release of QEMU whose QMP this is; clients compare it to know what they may use. */
const QEMU_VERSION = { major: 10, minor: 0, micro: 2 } as const;

/** query-version and the greeting: QEMU's numbers, and a package by which clients can tell us apart. */
export function versionInfo(packageVersion: string): { readonly qemu: typeof QEMU_VERSION; readonly package: string } {
  return { qemu: QEMU_VERSION, package: `Switchover ${packageVersion}` };
}

/** `info version`: the numbers with the package behind them, without a space, as QEMU prints them. */
export function versionText(packageVersion: string): string {
  const { major, minor, micro } = QEMU_VERSION;
  return `${major}.${minor}.${micro}Switchover ${packageVersion}`;
}

/** query-machines. */
export function machineList(): object[] {
  return ['none', 'harness'].map((name) => ({
    name,
    'cpu-max': 1,
    'hotpluggable-cpus': false,
    'numa-mem-supported': false,
    deprecated: false,
    acpi: false,
    'default-ram-id': 'ram',
  }));
}

/** query-cpus-fast: scripted guests, which have no QEMU CPU type. They run on threads of this process. */
export function cpuList(cpuCount: number): object[] {
  return Array.from({ length: cpuCount }, (_, index) => ({
    'cpu-index': index,
    'qom-path': `/machine/guest[${index}]`,
    'thread-id': process.pid,
    target: 'x86_64',
  }));
}
