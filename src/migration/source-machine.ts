/** What an outgoing migration needs of the machine (source.ts); `vm.ts` provides it. */

import type { RamBlock } from '../hw/ram.ts';
import type { SourceDevice } from './device-sections.ts';
import type { ThrottledMachine } from './guest-throttle.ts';
import { VALIDATED_CAPABILITIES } from './options/capabilities.ts';
import type { MigrationOptionsSnapshot } from './options/options.ts';
import type { Configuration, VmState } from './savevm.ts';

/** The machine as its source side sees it. */
export interface SourceMachine extends ThrottledMachine {
  readonly machineName: string;
  /** 16 bytes, or undefined when none was configured. */
  readonly uuid: Uint8Array | undefined;
  readonly ramBlocks: readonly RamBlock[];
  /** Machine property `suppress-vmdesc`: no description after EOF. */
  readonly suppressDescription: boolean;
  /** Throws what keeps a device from running. */
  devices(): Promise<readonly SourceDevice[]>;
  /** True while the run state is `running`. */
  isRunning(): boolean;
  /** Stops the guest for switchover (run state `finish-migrate`); the state it was stopped in. */
  stopForSwitchover(): Promise<VmState>;
  /** After failure or cancel: the guest goes on as it was, if it had been stopped. */
  undoSwitchover(): Promise<void>;
  /** After success: run state `postmigrate`. */
  handedOver(): void;
}

/** What the configuration section says of the machine. */
export function configurationOf(
  { machineName, uuid }: Pick<SourceMachine, 'machineName' | 'uuid'>,
  { capabilities }: Pick<MigrationOptionsSnapshot, 'capabilities'>,
): Configuration {
  return {
    machineName,
    uuid: capabilities['validate-uuid'] ? uuid : undefined,
    capabilities: VALIDATED_CAPABILITIES.filter((name) => capabilities[name]),
  };
}
