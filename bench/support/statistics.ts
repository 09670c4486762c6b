/** Few numbers, honestly: medians, quartiles, pairwise ratios, and the Mann–Whitney test of `node:perf_hooks`. */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

/** Smallest, quartiles and largest of a sample. */
export interface Spread {
  readonly min: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly max: number;
}

/** Above this quartile spread (as a share of the median) the machine was too noisy to tell. */
export const NOISY_SPREAD = 0.25;

/** The five numbers of a sample of at least one; quartiles are interpolated. */
export function spreadOf(sample: readonly number[]): Spread {
  const sorted = sample.toSorted((a, b) => a - b);
  const at = (share: number) => {
    const place = share * (sorted.length - 1);
    const below = sorted[Math.floor(place)] ?? Number.NaN;
    const above = sorted[Math.ceil(place)] ?? Number.NaN;
    return below + (above - below) * (place - Math.floor(place));
  };
  return { min: at(0), q1: at(0.25), median: at(0.5), q3: at(0.75), max: at(1) };
}

/** The middle of a sample. */
export function medianOf(sample: readonly number[]): number {
  return spreadOf(sample).median;
}

/** Distance of the quartiles as a share of the median. */
export function quartileSpread({ q1, median, q3 }: Spread): number {
  return (q3 - q1) / median;
}

/** Probability that two samples that far apart come from one distribution; undefined where this Node has no test. */
export function mannWhitneyP(first: readonly number[], second: readonly number[]): number | undefined {
  const a = histogramOf(first);
  const b = histogramOf(second);
  // Untyped border: @types/node of Node 24 does not know the method of Node 26.
  const test = (a as { mannWhitneyTest?: (other: RecordableHistogram) => { pValue: number } }).mannWhitneyTest;
  return test?.call(a, b).pValue;
}

function histogramOf(sample: readonly number[]): RecordableHistogram {
  // Five figures: two times that differ by a millisecond must not fall into one bucket.
  const histogram = createHistogram({ figures: 5 });
  for (const value of sample) histogram.record(Math.max(1, Math.round(value)));
  return histogram;
}
