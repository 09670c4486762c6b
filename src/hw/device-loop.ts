/** What a device's thread does: imports the device's module, creates the device, answers its machine. */

import { messageOf } from '../base/errors.ts';
import { Transferred, type WorkerPort } from '../threads/worker-port.ts';
import type { DeviceDefinition, DeviceLog } from './device.ts';
import { DeviceHost, type SavedState } from './device-host.ts';
import { loadDevice } from './device-module.ts';
import type { DeviceEvent, DeviceThreadData } from './device-thread.ts';
import { IrqLines } from './irq.ts';
import { ResourceAccount } from './vfio/resource-pool.ts';
import type { VfioRead } from './vfio/vfio-device.ts';
import { SharedTime } from './virtual-time.ts';

/** Runs until the owner closes the port; its first request is `create`. Throws `device/module`. */
export async function runDevice(data: DeviceThreadData, port: WorkerPort): Promise<void> {
  const definition = await loadDevice(data.module);
  await DeviceHost.prepare(definition);
  let host: Promise<DeviceHost> | undefined;
  // The device's deadline begins here: what came before is the machine's own time.
  port.ready();
  await port.serve(async (kind, payload) => {
    if (kind === 'rehearse') return rehearse(data);
    if (kind !== 'create') return moved(kind, await (await host!).handle(kind, payload)); // create comes first
    host = createHost(definition, data, port);
    await host;
    return undefined;
  });
}

async function rehearse({ ram, time }: DeviceThreadData): Promise<void> {
  const { rehearseVfio } = await import('./vfio/vfio-rehearsal.ts'); // for threads that are asked
  await rehearseVfio({ ram, time: new SharedTime(time) });
}

function createHost(definition: DeviceDefinition, data: DeviceThreadData, port: WorkerPort): Promise<DeviceHost> {
  const emit = (event: DeviceEvent) => port.emit(event);
  return DeviceHost.create({
    definition,
    id: data.id,
    properties: data.properties,
    ram: data.ram,
    resources: new ResourceAccount({ share: data.resources, index: data.index, device: data.id }),
    irqs: new IrqLines({ share: data.irqs }),
    time: new SharedTime(data.time),
    log: portLog(emit),
    onFailure: (error) => emit({ type: 'failure', why: messageOf(error) }),
  });
}

/** What may be large moves to the machine's thread instead of being copied, or is shared with it. */
function moved(kind: string, reply: unknown): unknown {
  if (kind !== 'save' && kind !== 'vfio/read') return reply;
  const { bytes } = reply as SavedState | VfioRead; // what DeviceHost replies to these
  return new Transferred(reply, bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : []);
}

function portLog(emit: (event: DeviceEvent) => void): DeviceLog {
  const at = (level: Extract<DeviceEvent, { type: 'log' }>['level']) => (fields: object, message: string) =>
    emit({ type: 'log', level, fields, message });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
