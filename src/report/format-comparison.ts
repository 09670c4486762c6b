/** A comparison of two vmstate dumps as text, as JSON, and as cases of a JUnit suite. */

import type { DumpComparison } from './compare-dumps.ts';
import type { Difference, DumpDirection } from './dump-difference.ts';
import type { JunitSuite } from './junit.ts';

const WEIGHT = { yes: 'breaks', maybe: 'may break', no: 'is fine' } as const;

/** One line for each difference, then the verdict for both directions. */
export function formatDumpComparison(
  comparison: DumpComparison,
  files: { readonly a: string; readonly b: string },
  paint: (text: string, isGood: boolean) => string,
): string {
  const { machines, compatible } = comparison;
  const all = comparison.devices.flatMap(({ differences }) => differences);
  const lines = all.map((one) => `${paint(weightOf(one), isHarmless(one))}  ${sentence(one)}`);
  const verdict = (direction: DumpDirection) => {
    const isFine = compatible[direction];
    return paint(isFine ? 'compatible' : 'NOT compatible', isFine);
  };
  return [
    `A  ${files.a}${machines.a === null ? '' : ` (machine '${machines.a}')`}`,
    `B  ${files.b}${machines.b === null ? '' : ` (machine '${machines.b}')`}`,
    ...lines,
    `${all.length === 0 ? 'no' : all.length} difference${all.length === 1 ? '' : 's'} in ${comparison.devices.length - 1} types of devices`,
    `A to B: ${verdict('forward')}`,
    `B to A: ${verdict('backward')}`,
    '',
  ].join('\n');
}

/** What `--json` prints. */
export function comparisonJson(comparison: DumpComparison): object {
  const { compatible, machines, devices } = comparison;
  const differences = devices.flatMap((device) => device.differences);
  return { equal: differences.length === 0, compatible, machines, devices: devices.length - 1, differences };
}

/** A case for each type of device and one for the machine; what breaks in one of the directions is a failure. */
export function comparisonCases(
  { devices }: DumpComparison,
  directions: readonly DumpDirection[],
): JunitSuite['cases'] {
  return devices.map(({ name, differences }) => {
    const bad = differences.filter(({ breaks }) => directions.some((direction) => breaks[direction] !== 'no'));
    return {
      name,
      ...(bad.length === 0 ? {} : { why: bad.map((one) => `${weightOf(one)}: ${sentence(one)}`).join('\n') }),
    };
  });
}

function isHarmless({ breaks }: Difference): boolean {
  return breaks.forward === 'no' && breaks.backward === 'no';
}

function weightOf({ breaks: { forward, backward } }: Difference): string {
  if (forward === backward) return `${WEIGHT[forward]} both ways`;
  return `A to B ${WEIGHT[forward]}, B to A ${WEIGHT[backward]}`;
}

function sentence({ path, kind, a, b, why }: Difference): string {
  return `${path}: ${kind}: ${value(a)} | ${value(b)} (${why})`;
}

function value(one: Difference['a']): string {
  return one === null ? 'none' : typeof one === 'string' ? `'${one}'` : String(one);
}
