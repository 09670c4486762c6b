/** Worker entry of the job pool: makes zlib streams of pages. */
import { workerData } from 'piscina';
import { pageDeflater } from '../src/migration/ram/compress-job.ts';

export default pageDeflater(workerData);
