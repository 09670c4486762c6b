/** A machine's devices as source and destination see them. With vm.ts the only files of this layer that know the machine. */

import type { MachineDevice, MachineVfio } from '../hw/device-set.ts';
import { transferWishes } from '../hw/vfio/vfio-properties.ts';
import { VFIO_SECTION_VERSION, type VfioState } from '../wire/vfio.ts';
import type { DestinationDevice, SourceDevice } from './device-sections.ts';
import type { DmaPort } from './vfio/dma-tracking.ts';
import type { VfioPort } from './vfio/vfio-port.ts';
import type { VmEvent } from './vm-control.ts';

/** A device of a source. */
export function sourceDevice(device: MachineDevice): SourceDevice {
  const { vfio, thread } = device;
  const { descriptorField } = thread.config.definition.state;
  const dma = vfio === undefined ? {} : { dma: dmaOf(vfio) };
  return { ...sectionOf(device), ...dma, descriptorField, prepare: () => thread.prepare(), save: () => thread.save() };
}

/** The event for a state that a VFIO device has reached. */
export function vfioMigration(id: string, state: VfioState): VmEvent {
  const data = { 'device-id': id, 'qom-path': `/machine/peripheral/${id}`, 'device-state': state };
  return { name: 'VFIO_MIGRATION', data };
}

/** A device of a destination. */
export function destinationDevice(device: MachineDevice): DestinationDevice {
  const { thread } = device;
  const { state } = thread.config.definition;
  return {
    ...sectionOf(device),
    stateVersion: state.version,
    extent: (version, place) => state.extent(version, place),
    decode: (bytes, place) => state.decode(bytes, place),
    load: (loaded) => thread.load(loaded),
  };
}

/** A VFIO device's DMA log. */
function dmaOf({ client, wishes }: MachineVfio): DmaPort {
  return {
    wishes,
    startDmaLogging: (options) => client.startDmaLogging(options),
    reportDmaLog: (range) => client.reportDmaLog(range),
    stopDmaLogging: (last) => client.stopDmaLogging(last),
  };
}

/** What migration asks of a VFIO device. */
function portOf({ client, features }: MachineVfio): VfioPort {
  return {
    features,
    setState: (target, recover) => client.setState(target, recover),
    state: () => client.state(),
    precopyInfo: () => client.precopyInfo(),
    stopCopyBytes: () => client.stopCopyBytes(),
    read: (maxBytes, memory) => client.read(maxBytes, memory),
    write: (bytes) => client.write(bytes),
    landed: (at, length) => client.landed(at, length),
    ready: () => client.ready(),
    reset: () => client.reset(),
  };
}

/** A device's section, as its state's description has it. */
function sectionOf({ thread, idstr, instanceId, vfio }: MachineDevice) {
  const { definition, properties } = thread.config;
  const { version, minimumVersion, priority } = definition.state;
  const section = { id: thread.id, idstr, instanceId, priority };
  if (vfio === undefined) return { ...section, version, minimumVersion };
  const versions = { version: VFIO_SECTION_VERSION, minimumVersion: VFIO_SECTION_VERSION };
  return { ...section, ...versions, vfio: portOf(vfio), transfer: transferWishes(properties) };
}
