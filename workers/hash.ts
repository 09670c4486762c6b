/** Worker entry of the job pool: hashes files. */
export { hashFile as default } from '../src/threads/hash-file.ts';
