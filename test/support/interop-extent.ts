/**
 * How much of the interop matrices runs: some cells by default, all with SWITCHOVER_INTEROP=full, and with
 * SWITCHOVER_INTEROP=full:3/8 the third of eight parts of that.
 */

const [extent, part = '1/1'] = (process.env['SWITCHOVER_INTEROP'] ?? '').split(':');
const [partNumber = 1, partCount = 1] = part.split('/').map(Number);

/** Everything, or a part of it, instead of some. */
export const isFullInterop = extent === 'full';

/** Those of `cells` that are in the part asked for: all of them when none was. */
export function interopPart<Cell>(cells: readonly Cell[]): Cell[] {
  return cells.filter((_, index) => index % partCount === partNumber % partCount);
}
