/**
 * node:fs for what runs in threads. Importing a builtin module as an ES module reads each of its getters; those of node:fs load
 * fs/promises and streams, in every thread anew: 1.3 ms and 300 KiB of heap (an idle AMD host, Node 26.10).
 */

export const { readFileSync, readlinkSync } = process.getBuiltinModule('node:fs');
