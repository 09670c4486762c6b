/** Two machines of this process, the destination listening for the source; both disposed of together. */

import { tempDir } from './temp.ts';
import { WatchedVm, type WatchedVmOptions } from './watched-vm.ts';

/** A running source and the address where its destination waits. */
export interface MachinePair extends AsyncDisposable {
  readonly source: WatchedVm;
  readonly destination: WatchedVm;
  readonly uri: string;
}

/** Starts both; `common` goes to either side. */
export async function machinePair(options: {
  common?: WatchedVmOptions;
  source?: WatchedVmOptions;
  destination?: WatchedVmOptions;
}): Promise<MachinePair> {
  const { common = {} } = options;
  const dir = await tempDir();
  const uri = `unix:${dir.file('m')}`;
  const base = { machineType: 'harness', running: true, ...common } as const;
  const destination = await WatchedVm.start({ ...base, ...options.destination, incoming: uri });
  const source = await WatchedVm.start({ ...base, ...options.source });
  return {
    source,
    destination,
    uri,
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]();
      await destination[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}
