/**
 * Malformed and odd streams, each with a real QEMU's verdict (test/hostile): ours loads what QEMU loads, and where QEMU
 * fails, dies or hangs it fails, soon and with an offset. Where it does not, DEVIATIONS and docs/differences.md say why.
 */

import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { isHarnessError } from '../../src/base/errors.ts';
import { IDLE_CONTEXT } from '../../src/migration/options/capabilities.ts';
import { MigrationOptions } from '../../src/migration/options/options.ts';
import { LoadingMachine, type LoadOutcome } from '../support/stream-loading.ts';

/** A row of test/hostile/index.json. */
interface HostileStream {
  readonly file: string;
  readonly case: string;
  readonly options: { readonly caps?: Readonly<Record<string, boolean>>; readonly extra?: readonly string[] };
  readonly result: 'completed' | 'failed' | 'DIED' | 'HANG';
  readonly returnPath: string;
}

type Verdict = 'completed' | 'failed' | 'refuses the option';

const EXACT_NAME = 'the machine name must be equal, not just begin alike';
const NO_POSTCOPY = 'no data path for postcopy-ram yet: the capability cannot be switched on';
const NO_DIRTY_BITMAPS = 'no block devices, so no section `dirty-bitmap`: an unknown section';

/** Every stream that ends otherwise than at QEMU's, and why; docs/differences.md has the same table. */
const DEVIATIONS: Readonly<Record<string, { readonly ours: Verdict; readonly reason: string }>> = {
  '005': { ours: 'failed', reason: EXACT_NAME },
  ...rows(59, 69, { ours: 'refuses the option', reason: NO_POSTCOPY }),
  ...rows(78, 80, { ours: 'failed', reason: NO_DIRTY_BITMAPS }),
  ...rows(82, 82, { ours: 'failed', reason: NO_DIRTY_BITMAPS }),
  ...rows(84, 87, { ours: 'failed', reason: NO_DIRTY_BITMAPS }),
};

function rows<T>(first: number, last: number, row: T): Record<string, T> {
  const numbers = Array.from({ length: last - first + 1 }, (_, n) => String(first + n).padStart(3, '0'));
  return Object.fromEntries(numbers.map((number) => [number, row]));
}

const SLOW_MS = 1000;
const RAM_BYTES = 1 << 20;
const DIRECTORY = new URL('../hostile/', import.meta.url);
// The index is part of the tree; HostileStream states its form.
const STREAMS = JSON.parse(readFileSync(new URL('index.json', DIRECTORY), 'utf8')) as readonly HostileStream[];

function numberOf(stream: HostileStream): string {
  return stream.file.slice(0, 3);
}

/** Throws when an option of the case cannot be had here. */
function setOptions(stream: HostileStream, options: MigrationOptions): void {
  const capabilities = Object.entries(stream.options.caps ?? {}).map(([name, state]) => ({
    capability: name.replaceAll('_', '-'),
    state,
  }));
  options.setCapabilities(capabilities, IDLE_CONTEXT);
}

async function load(
  stream: HostileStream,
  options: MigrationOptions,
): Promise<LoadOutcome & { bytes: Uint8Array; tookMs: number }> {
  const [option, value] = stream.options.extra ?? [];
  const machine = new LoadingMachine({
    ramBytes: RAM_BYTES,
    options,
    ...(option === '-uuid' && value !== undefined ? { uuid: value } : {}),
  });
  const bytes = gunzipSync(readFileSync(new URL(stream.file, DIRECTORY)));
  const startMs = performance.now();
  const outcome = await machine.load(bytes);
  return { ...outcome, bytes, tookMs: performance.now() - startMs };
}

function optionsRefused(stream: HostileStream, options: MigrationOptions): boolean {
  try {
    setOptions(stream, options);
    return false;
  } catch (error) {
    if (!isHarnessError(error, 'qmp/generic')) throw error;
    expect(error.message).toContain('no data path');
    return true;
  }
}

describe.for(STREAMS)('$file $case', (stream) => {
  const deviation = DEVIATIONS[numberOf(stream)];
  const expected: Verdict = deviation?.ours ?? (stream.result === 'completed' ? 'completed' : 'failed');

  test(`QEMU: ${stream.result}; ours: ${expected}`, async () => {
    const options = new MigrationOptions();
    const refused = optionsRefused(stream, options);
    const outcome = await load(stream, options);
    const loaded = outcome.error === undefined ? 'completed' : 'failed';
    expect(refused ? 'refuses the option' : loaded).toBe(expected);
    expect(outcome.tookMs).toBeLessThan(SLOW_MS);
    if (deviation === undefined) expect(Buffer.from(outcome.returnPath).toString('hex')).toBe(stream.returnPath);
    if (outcome.error === undefined) return;
    if (!isHarnessError(outcome.error) || !('at' in outcome.error.details)) throw outcome.error;
    expect(outcome.error.details.at).toBeTypeOf('number');
    expect(outcome.error.details.at).toBeLessThanOrEqual(outcome.bytes.length);
  });
});

test('every deviation is in docs/differences.md, and nothing else is', () => {
  const expected = STREAMS.filter((stream) => numberOf(stream) in DEVIATIONS).map((stream) => {
    const { ours, reason } = DEVIATIONS[numberOf(stream)]!;
    return `| ${numberOf(stream)} | ${stream.case} | ${stream.result} | ${ours} | ${reason} |`;
  });
  const text = readFileSync(new URL('../../docs/differences.md', import.meta.url), 'utf8');
  expect(text.split('\n').filter((line) => /^\| \d{3} \|/.test(line))).toEqual(expected);
});

test('a deviation changes the outcome', () => {
  const pointless = Object.entries(DEVIATIONS).filter(([number, { ours }]) => {
    const stream = STREAMS.find((row) => numberOf(row) === number);
    return stream === undefined || ours === stream.result;
  });
  expect(pointless).toEqual([]);
});
