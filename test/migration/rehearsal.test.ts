/** The migration that a new process does for practice: it works, and nothing of it stays. */

import { readdirSync } from 'node:fs';
import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { createLogger } from '../../src/base/log.ts';
import { rehearse } from '../../src/migration/rehearsal.ts';

/** Open sockets and files of this process. */
function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

test('a rehearsal completes, says nothing and leaves no descriptor open', async () => {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  await rehearse(createLogger({ level: 'info', stream })); // the first may open files that stay, such as WebAssembly's
  const before = descriptors();
  await rehearse(createLogger({ level: 'info', stream }));
  expect(lines).toEqual([]);
  await expect.poll(descriptors).toBe(before); // a closed socket is gone one turn later
});
