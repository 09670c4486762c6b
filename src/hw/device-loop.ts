/** What a device's thread does: imports the device's module, creates the device, answers its machine. */

import { messageOf } from '../base/errors.ts';
import { Transferred, type WorkerPort } from '../threads/worker-port.ts';
import type { DeviceLog } from './device.ts';
import { DeviceHost, type SavedState } from './device-host.ts';
import { loadDevice } from './device-registry.ts';
import type { DeviceEvent, DeviceThreadData } from './device-thread.ts';
import { IrqLines } from './irq.ts';
import { SharedTime } from './virtual-time.ts';

/** Runs until the owner closes the port. Throws what keeps the device from being created. */
export async function runDevice(data: DeviceThreadData, port: WorkerPort): Promise<void> {
  const emit = (event: DeviceEvent) => port.emit(event);
  const host = await DeviceHost.create({
    definition: await loadDevice(data.module),
    id: data.id,
    properties: data.properties,
    ram: data.ram,
    irqs: new IrqLines({ share: data.irqs }),
    time: new SharedTime(data.time),
    log: portLog(emit),
    onFailure: (error) => emit({ type: 'failure', why: messageOf(error) }),
  });
  port.ready();
  await port.serve(async (kind, payload) => moved(kind, await host.handle(kind, payload)));
}

/** States may be large: they move to the machine's thread instead of being copied. */
function moved(kind: string, reply: unknown): unknown {
  if (kind !== 'save') return reply;
  const { bytes } = reply as SavedState; // what DeviceHost replies to a save
  return new Transferred(reply, [bytes.buffer as ArrayBuffer]);
}

function portLog(emit: (event: DeviceEvent) => void): DeviceLog {
  const at = (level: Extract<DeviceEvent, { type: 'log' }>['level']) => (fields: object, message: string) =>
    emit({ type: 'log', level, fields, message });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
