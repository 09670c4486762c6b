/** Commands of the human monitor about dirty memory (spec/control.md §5.11), with QEMU's texts. */

import type { DirtyRateInfo } from '../migration/dirty-rate.ts';
import type { VcpuLimitInfo } from '../migration/vcpu-limits.ts';
import type { HumanCommand } from './hmp-command.ts';

const optionalNumber = (text: string | undefined) => (text === undefined ? undefined : BigInt(text));

/** Commands that act. */
export const DIRTY_HUMAN_COMMANDS: readonly HumanCommand[] = [
  {
    names: ['calc_dirty_rate'],
    flags: 'rb',
    arguments: ['int', 'int?'],
    usage: '[-r] [-b] second [sample_pages_per_GB]',
    summary: 'measure the dirty rate: by sampling pages, by the dirty ring (-r) or the dirty bitmap (-b)',
    run({ vm }, { flags, values: [seconds = '0', samples] }) {
      const period = BigInt(seconds);
      if (period === 0n) return 'Incorrect period length specified!\n';
      if (flags.has('r') && flags.has('b')) return 'Either dirty ring or dirty bitmap can be specified!\n';
      const samplePages = optionalNumber(samples);
      const mode = flags.has('r') ? 'dirty-ring' : flags.has('b') ? 'dirty-bitmap' : 'page-sampling';
      vm.dirtyRate.start({
        'calc-time': period,
        mode,
        ...(samplePages === undefined ? {} : { 'sample-pages': samplePages }),
      });
      return (
        `Starting dirty rate measurement with period ${seconds} seconds\n` +
        "[Please use 'info dirty_rate' to check results]\n"
      );
    },
  },
  {
    names: ['cancel_vcpu_dirty_limit'],
    arguments: ['int?'],
    usage: '[cpu_index]',
    summary: 'take away the limit of the dirty rate, of one vCPU or all',
    run({ vm }, { values: [index] }) {
      vm.vcpuLimits.cancel(index === undefined ? undefined : Number(index));
      return LIMIT_HINT;
    },
  },
  {
    names: ['set_vcpu_dirty_limit'],
    arguments: ['int', 'int?'],
    usage: 'dirty_rate [cpu_index]',
    summary: 'limit the dirty rate (MiB/s) of one vCPU or all',
    run({ vm }, { values: [rate = '0', index] }) {
      if (rate.startsWith('-')) return `Error: invalid dirty page limit ${rate}\n`;
      vm.vcpuLimits.set(index === undefined ? undefined : Number(index), BigInt(rate));
      return LIMIT_HINT;
    },
  },
];

/** `info …`. */
export const DIRTY_INFO_COMMANDS: readonly HumanCommand[] = [
  {
    names: ['dirty_rate'],
    summary: 'the dirty rate that was measured',
    run: ({ vm }) => rateText(vm.dirtyRate.info()),
  },
  {
    names: ['vcpu_dirty_limit'],
    summary: 'limits of the dirty rate of vCPUs',
    run: ({ vm }) => limitsText(vm.vcpuLimits.query()),
  },
];

const LIMIT_HINT = "[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]\n";

function rateText(info: DirtyRateInfo): string {
  const vcpus = info['vcpu-dirty-rate'] ?? [];
  return [
    `Status: ${info.status}\n`,
    `Start Time: ${info['start-time']} (ms)\n`, // QEMU's word for it; these are seconds
    ...(info.mode === 'page-sampling' ? [`Sample Pages: ${info['sample-pages']} (per GB)\n`] : []),
    `Period: ${info['calc-time']} (sec)\n`,
    `Mode: ${info.mode}\n`,
    'Dirty rate: ',
    info['dirty-rate'] === undefined ? '(not ready)\n' : `${info['dirty-rate']} (MB/s)\n`,
    ...vcpus.map(({ id, 'dirty-rate': rate }) => `vcpu[${id}], Dirty rate: ${rate} (MB/s)\n`),
  ].join('');
}

function limitsText(limits: readonly VcpuLimitInfo[]): string {
  if (limits.length === 0) return 'Dirty page limit not enabled!\n';
  return limits
    .map(
      (limit) =>
        `vcpu[${limit['cpu-index']}], limit rate ${limit['limit-rate']} (MB/s), current rate ${limit['current-rate']} (MB/s)\n`,
    )
    .join('');
}
