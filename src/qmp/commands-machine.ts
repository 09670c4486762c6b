/** The QMP commands of the machine around its migration (spec/control.md §5.4): run state, objects, memory, monitor. */

import * as kinds from '../base/kinds.ts';
import { type Kind, optional, required, struct } from '../base/kinds.ts';
import { objectKind } from '../migration/objects/object-registry.ts';
import { type CommandContext, type CommandTable, command, NO_ARGUMENTS, query, refusal, refuse } from './command.ts';
import { saveMemory } from './memory-save.ts';
import { cpuList, machineList, memoryBackendList, typeList, versionInfo } from './replies.ts';
import {
  CURRENT_MACHINE_KIND,
  KVM_INFO_KIND,
  MEMORY_SIZE_KIND,
  STATUS_INFO_KIND,
  VERSION_INFO_KIND,
} from './return-kinds.ts';
import { CPUS_KIND, MACHINES_KIND, MEMDEV_KIND, TARGET_KIND, TYPES_KIND } from './return-kinds-described.ts';

const NO_SUCH_CPU = "Parameter 'cpu-index' expects a CPU number";
const memoryKind = { val: required(kinds.uint64), size: required(kinds.uint64), filename: required(kinds.string) };
const typesKind = struct({ implements: optional(kinds.string), abstract: optional(kinds.boolean) });
const machinesKind = struct({ 'compat-props': optional(kinds.boolean) });
const idKind = struct({ id: required(kinds.string) });
const nameKind = struct({ name: optional(kinds.string) });
const humanKind = struct({ 'command-line': required(kinds.string), 'cpu-index': optional(kinds.int64) });
const one = <T>(name: string, kind: Kind<T>) => struct({ [name]: required(kind) });

/** See the header. */
export const MACHINE_COMMANDS: CommandTable = {
  'query-version': query(
    'version of the QMP, and of this package',
    ({ packageVersion }) => versionInfo(packageVersion),
    VERSION_INFO_KIND,
  ),
  'query-name': query("the machine's name", ({ vm }) => (vm.name === undefined ? {} : { name: vm.name }), nameKind),
  'query-uuid': query("the machine's UUID", ({ vm }) => ({ UUID: vm.uuid }), one('UUID', kinds.string)),
  'query-target': query('the architecture', () => ({ arch: 'x86_64' }), TARGET_KIND),
  'query-kvm': query('whether KVM is in use', () => ({ enabled: false, present: false }), KVM_INFO_KIND),
  'query-machines': command(
    { summary: 'machine types', args: machinesKind, returns: MACHINES_KIND },
    ({ 'compat-props': compatProps }) => machineList({ compatProps }),
  ),
  'query-current-machine': query(
    'what the machine can do',
    () => ({ 'wakeup-suspend-support': false }),
    CURRENT_MACHINE_KIND,
  ),
  'query-cpus-fast': query('vCPUs', async ({ vm }) => cpuList(await vm.vcpuThreadIds()), CPUS_KIND),
  'query-memory-size-summary': query(
    'bytes of RAM',
    ({ vm }) => ({
      'base-memory': vm.ramBytes,
      'plugged-memory': 0,
    }),
    MEMORY_SIZE_KIND,
  ),

  'query-status': query('the run state', ({ vm }) => vm.queryStatus(), STATUS_INFO_KIND),
  stop: command({ summary: 'stop the guest', args: NO_ARGUMENTS }, (_, { vm }) => vm.stop()),
  cont: command({ summary: 'let the guest run', args: NO_ARGUMENTS }, (_, { vm }) => vm.cont()),
  system_reset: command({ summary: 'reset the machine', args: NO_ARGUMENTS }, (_, { vm }) => vm.reset()),
  quit: command({ summary: 'end the process', args: NO_ARGUMENTS }, (_, { vm }) => vm.quit('host-qmp-quit')),

  'object-add': command({ summary: 'make an object', args: objectKind }, (args, { vm }) => vm.objects.add(args)),
  'object-del': command({ summary: 'delete an object', args: idKind }, ({ id }, { vm }) => vm.objects.remove(id)),
  'qom-list-types': command(
    { summary: 'types of machines and objects', args: typesKind, returns: TYPES_KIND },
    (args) => typeList(args),
  ),
  'query-memdev': query('memory backends', ({ vm }) => memoryBackendList(vm.objects), MEMDEV_KIND),

  pmemsave: command(
    { summary: 'write guest-physical memory to a file', args: struct(memoryKind) },
    ({ val, size, filename }, { vm }) => saveMemory(vm, { address: val, size, filename }),
  ),
  // Virtual addresses are those of a CPU, and no vCPU here has any: what QEMU says when there is no CPU.
  memsave: refusal(
    {
      summary: 'write memory as a vCPU sees it to a file',
      args: struct({ ...memoryKind, 'cpu-index': optional(kinds.int64) }),
    },
    NO_SUCH_CPU,
  ),
  'human-monitor-command': command(
    { summary: 'run a line of the human monitor; returns what it prints', args: humanKind, returns: kinds.string },
    ({ 'command-line': line, 'cpu-index': cpu }, context) =>
      cpu === undefined ? human(line, context) : refuse(NO_SUCH_CPU),
  ),
};

/** The human monitor is loaded when someone uses it: a machine greets its first client 20 ms sooner without it. */
async function human(line: string, context: Pick<CommandContext, 'vm' | 'packageVersion'>): Promise<string> {
  const { runHumanCommand } = await import('./hmp.ts');
  return await runHumanCommand(line, context);
}
