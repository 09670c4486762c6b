/** QMP commands about dirty memory: measuring its rate and limiting it per vCPU (spec/control.md §5.5, §5.6). */

import * as kinds from '../base/kinds.ts';
import { arrayOf, enumOf, optional, required, struct } from '../base/kinds.ts';
import { DIRTY_RATE_MODES, TIME_UNITS } from '../migration/dirty-rate.ts';
import { type CommandTable, command, query } from './command.ts';

const unit = optional(enumOf(TIME_UNITS));
const rateKind = struct({
  status: required(enumOf(['unstarted', 'measuring', 'measured'])),
  'start-time': required(kinds.int64),
  'calc-time': required(kinds.int64),
  'calc-time-unit': required(enumOf(TIME_UNITS)),
  'sample-pages': required(kinds.uint64),
  mode: required(enumOf(DIRTY_RATE_MODES)),
  'dirty-rate': optional(kinds.int64),
  'vcpu-dirty-rate': optional(arrayOf(struct({ id: required(kinds.int64), 'dirty-rate': required(kinds.int64) }))),
});
const limitKind = struct({
  'cpu-index': required(kinds.int64),
  'limit-rate': required(kinds.uint64),
  'current-rate': required(kinds.uint64),
});
const cpuIndex = optional(kinds.int64);

/** See the header. */
export const DIRTY_COMMANDS: CommandTable = {
  'calc-dirty-rate': command(
    {
      summary: 'measure how fast the guest dirties memory; query-dirty-rate tells the result',
      args: struct({
        'calc-time': required(kinds.int64),
        'calc-time-unit': unit,
        'sample-pages': optional(kinds.int64),
        mode: optional(enumOf(DIRTY_RATE_MODES)),
      }),
    },
    (args, { vm }) => void vm.dirtyRate.start(args),
  ),
  'query-dirty-rate': command(
    { summary: 'the dirty rate that was measured last', args: struct({ 'calc-time-unit': unit }), returns: rateKind },
    ({ 'calc-time-unit': asked }, { vm }) => vm.dirtyRate.info(asked),
  ),
  'set-vcpu-dirty-limit': command(
    {
      summary: 'limit how fast a vCPU, or each, dirties memory (MiB/s)',
      args: struct({ 'cpu-index': cpuIndex, 'dirty-rate': required(kinds.uint64) }),
    },
    ({ 'cpu-index': index, 'dirty-rate': rate }, { vm }) => vm.vcpuLimits.set(numberOf(index), rate),
  ),
  'cancel-vcpu-dirty-limit': command(
    { summary: 'let a vCPU, or each, dirty memory as fast as it likes', args: struct({ 'cpu-index': cpuIndex }) },
    ({ 'cpu-index': index }, { vm }) => vm.vcpuLimits.cancel(numberOf(index)),
  ),
  'query-vcpu-dirty-limit': query('vCPUs that are limited', ({ vm }) => vm.vcpuLimits.query(), arrayOf(limitKind)),
};

function numberOf(index: bigint | number | undefined): number | undefined {
  return index === undefined ? undefined : Number(index);
}
