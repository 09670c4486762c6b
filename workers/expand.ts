/** Worker entry of the job pool: stores pages from their zlib streams. */
import { workerData } from 'piscina';
import { pageInflater } from '../src/migration/ram/compress-job.ts';

export default pageInflater(workerData);
