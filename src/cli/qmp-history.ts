/** The lines typed into the QMP shell, kept in a file of the user's between two sessions. */

import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

const MAX_LINES = 1000;

/** The file that is used unless another is named: in the user's directory for state, as XDG has it. */
export function defaultHistoryFile(environment: Readonly<Record<string, string | undefined>>): string {
  const state = environment['XDG_STATE_HOME'] || join(homedir(), '.local', 'state');
  return join(state, 'switchover', 'qmp-history');
}

/** The last lines, newest first, as node:readline wants them; none where there is no file. */
export function readHistory(file: string): string[] {
  try {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
    return lines.slice(-MAX_LINES).reverse();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Adds a line; only the user can read the file, because commands have passwords in them. */
export function appendHistory(file: string, line: string): void {
  mkdirSync(dirname(file), { recursive: true });
  appendFileSync(file, `${line}\n`, { mode: 0o600 });
}
