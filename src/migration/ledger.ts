/**
 * The downtime ledger: where the time went between stopping the guest on the source and its run on the destination, part by
 * part, for RAM, each device and the machine itself, all on the source's clock. Pure: it is told the parts and finds the
 * critical path among them.
 */

/** What a part of the downtime was spent on, in the order in which one thing goes through them. */
export const LEDGER_PHASES = ['stop', 'save', 'queue', 'wire', 'load', 'start', 'confirm'] as const;
/** One of them: `queue` is waiting for the stream, `confirm` is the news of the end travelling back. */
export type LedgerPhase = (typeof LEDGER_PHASES)[number];

/** One stretch of time; milliseconds since the downtime began. */
export interface LedgerPart {
  /** `machine`, `ram`, or a device's id. */
  readonly row: string;
  readonly phase: LedgerPhase;
  readonly startMs: number;
  readonly endMs: number;
}

/** A part as the ledger shows it. */
export interface JudgedPart extends LedgerPart {
  /** How much of it lies on the critical path (ms); shortening the rest would not shorten the downtime. */
  readonly criticalMs: number;
}

/** The account of one downtime. */
export interface Ledger {
  readonly downtimeMs: number;
  /** Milliseconds of the downtime that some part accounts for. */
  readonly explainedMs: number;
  readonly parts: readonly JudgedPart[];
}

/** Chunks of one stream that follow each other so closely are one stretch (ms). */
const SEAM_MS = 1;
/** Shorter than this is no gap: clocks of two machines agree no better (ms). */
const EPSILON_MS = 0.001;

/** Makes the account: parts are cut to the downtime, and those on the critical path are found from its end backwards. */
export function ledgerOf(recorded: readonly LedgerPart[], downtimeMs: number): Ledger {
  const parts = recorded
    .map((part) => ({
      ...part,
      startMs: Math.min(Math.max(0, part.startMs), downtimeMs),
      endMs: Math.min(Math.max(0, part.endMs), downtimeMs),
    }))
    .filter((part) => part.endMs > part.startMs);
  const critical = new Map<LedgerPart, number>();
  let atMs = downtimeMs;
  let explainedMs = 0;
  while (atMs > EPSILON_MS) {
    const next = causeBefore(parts, atMs);
    if (next === undefined) break;
    critical.set(next.part, (critical.get(next.part) ?? 0) + next.endMs - next.startMs);
    explainedMs += next.endMs - next.startMs;
    atMs = next.startMs;
  }
  return {
    downtimeMs,
    explainedMs,
    parts: parts.map((part) => ({ ...part, criticalMs: critical.get(part) ?? 0 })),
  };
}

/** The last stretch before `atMs` that something took: waiting in the queue counts only where nothing else went on. */
function causeBefore(
  parts: readonly LedgerPart[],
  atMs: number,
): { part: LedgerPart; startMs: number; endMs: number } | undefined {
  const work = lastBefore(parts, atMs, (part) => part.phase !== 'queue');
  const workEndMs = work === undefined ? 0 : Math.min(work.endMs, atMs);
  if (work === undefined || workEndMs < atMs - EPSILON_MS) {
    const wait = lastBefore(parts, atMs, (part) => part.phase === 'queue');
    const startMs = Math.max(wait?.startMs ?? 0, workEndMs);
    if (wait !== undefined && Math.min(wait.endMs, atMs) > startMs + EPSILON_MS) {
      return { part: wait, startMs, endMs: Math.min(wait.endMs, atMs) };
    }
  }
  return work === undefined ? undefined : { part: work, startMs: work.startMs, endMs: workEndMs };
}

/** What was still going on, or else ended last, before `atMs`; of several, the one that began last is what was waited for. */
function lastBefore(
  parts: readonly LedgerPart[],
  atMs: number,
  isWanted: (part: LedgerPart) => boolean,
): LedgerPart | undefined {
  let best: LedgerPart | undefined;
  for (const part of parts) {
    if (part.startMs >= atMs - EPSILON_MS || !isWanted(part)) continue;
    const end = Math.min(part.endMs, atMs);
    const bestEnd = best === undefined ? -1 : Math.min(best.endMs, atMs);
    if (end > bestEnd + EPSILON_MS || (end > bestEnd - EPSILON_MS && part.startMs > (best?.startMs ?? -1))) best = part;
  }
  return best;
}

/** Collects parts while a migration goes on. Times are milliseconds of any one clock; `close` shifts them. */
export class LedgerRecorder {
  readonly #parts: LedgerPart[] = [];
  /** Index of the last part of each row and phase. */
  readonly #last = new Map<string, number>();

  /** What was recorded so far. */
  get parts(): readonly LedgerPart[] {
    return this.#parts;
  }

  /** Records one stretch; one that goes on where the last of its kind ended makes that one longer. */
  add(row: string, phase: LedgerPhase, startMs: number, endMs: number): void {
    const key = `${phase} ${row}`;
    const index = this.#last.get(key);
    const last = index === undefined ? undefined : this.#parts[index];
    if (index !== undefined && last !== undefined && startMs >= last.startMs && startMs - last.endMs < SEAM_MS) {
      this.#parts[index] = { ...last, endMs: Math.max(last.endMs, endMs) };
      return;
    }
    this.#last.set(key, this.#parts.length);
    this.#parts.push({ row, phase, startMs, endMs });
  }

  /** Records what the other side told, all of it before `endMs`, when the news of the end had come back. */
  addPeer(parts: readonly LedgerPart[], endMs: number): void {
    for (const { row, phase, startMs, endMs: partEndMs } of parts) this.add(row, phase, startMs, partEndMs);
    if (parts.length > 0) this.add('machine', 'confirm', Math.max(...parts.map((part) => part.endMs)), endMs);
  }

  /** The account of the downtime between these two times. */
  close(startMs: number, endMs: number): Ledger {
    const parts = this.#parts.map((part) => ({
      ...part,
      startMs: part.startMs - startMs,
      endMs: part.endMs - startMs,
    }));
    return ledgerOf(parts, endMs - startMs);
  }
}
