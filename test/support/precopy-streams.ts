/** The recorded streams that plain precopy loads, each with what a machine must be to load it and what RAM it must give. */

import { recordedStream } from './recorded-stream.ts';

/** One recording of machine `none` and its result. */
export interface PrecopyStream {
  readonly file: string;
  readonly bytes: Uint8Array;
  /** RAM after the load. */
  readonly ram: Uint8Array;
  /** Properties that must be `off`, as in `-global migration.NAME=off`. */
  readonly off: readonly string[];
  /** The run state inside. */
  readonly runState: string;
  /** What the destination answers (hex); empty without a return path. */
  readonly returnPath: string;
}

const MIB = 1 << 20;
const OLD_FORMAT = ['send-configuration', 'send-section-footer', 'store-global-state', 'send-switchover-start'];

function row(file: string, ram: Uint8Array, rest: Partial<Omit<PrecopyStream, 'file' | 'bytes' | 'ram'>> = {}) {
  const base = { off: [], runState: 'prelaunch', returnPath: '' };
  // Copies: slice() of a Buffer would share its memory with the next test.
  return {
    file,
    bytes: new Uint8Array(recordedStream(file)),
    ram: new Uint8Array(ram),
    ...base,
    ...rest,
  } satisfies PrecopyStream;
}

const ram1 = recordedStream('none-1m.ram.zz');
const ram4 = recordedStream('none-4m.ram.zz');
const returnPath = Buffer.from(recordedStream('none-4m-return-path.rp')).toString('hex');

/** All of them; the first is the small one. */
export const PRECOPY_STREAMS: readonly PrecopyStream[] = [
  row('none-1m-file.main', new Uint8Array(MIB)),
  row('none-1m-oldformat.main', ram1, { off: OLD_FORMAT, runState: 'running' }),
  row('none-1m-pre10.main', ram1, { off: ['send-switchover-start'] }),
  row('none-4m-single.main', ram4),
  row('none-4m-return-path.main', ram4, { returnPath }),
  // Recorded with switchover-ack on; it is off here, so the acknowledgement is missing from the answers.
  row('none-4m-switchover-ack.main', ram4, { returnPath }),
  row('none-4m-background-snapshot.main', ram4, { runState: 'running' }),
];

/** A recording by its file name. */
export function precopyStream(file: string): PrecopyStream {
  const found = PRECOPY_STREAMS.find((stream) => stream.file === file);
  if (found === undefined) throw new Error(`no recording ${file}`);
  return found;
}
