/** Colour for words that judge, where the output is a terminal that wants it (NO_COLOR and FORCE_COLOR are honoured). */

import { styleText } from 'node:util';

/** Green for good, red for bad; plain when standard output takes no colour. */
export function paintJudgement(text: string, good: boolean): string {
  return styleText(good ? 'green' : 'red', text, { stream: process.stdout });
}
