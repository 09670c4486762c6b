/**
 * node:fs for what runs in threads. Importing a builtin module as an ES module reads each of its getters; those of node:fs load
 * fs/promises and streams, in every thread anew: 1.3 of the 2.4 ms and 300 KiB of a thread that does nothing else.
 */

export const { readFileSync, readlinkSync } = process.getBuiltinModule('node:fs');
