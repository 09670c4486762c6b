/**
 * A recorded multifd stream of QEMU's with the state of VFIO devices added: sections on the main channel, packets on the two
 * channels behind the pages, as spec/vfio.md §2.6 has them. And devices to load it into, in the test's own thread.
 */

import { field, type StateOf, vmstate } from '../../src/hw/device.ts';
import type { DestinationDevice } from '../../src/migration/device-sections.ts';
import { ByteWriter } from '../../src/wire/writer.ts';
import { emulated, wholeStream } from './emulated-pair.ts';
import { recordedMultifd } from './multifd-streams.ts';
import { configRecord, statePacket } from './state-packets.ts';

const SETUP = 'ffffffffef100003';
const END = 'ffffffffef100001';
const SWITCHOVER_START = Buffer.from('08000b0000', 'hex');
/** Of a packet's state. */
const CHUNK_BYTES = 1000;

const STATE = vmstate({ name: 'VFIOPCIDevice', version: 1, fields: { command: field.u32, doorbell: field.u32 } });
type State = StateOf<typeof STATE>;

/** What every device's ordinary state is in these streams. */
export const ORDINARY: State = { command: 0x0107, doorbell: 3 };

function idstrOf(device: number): string {
  return `0000:00:0${device + 2}.0/vfio`;
}

/** The packets of one device, in their order: all of its data, then CONFIG. */
async function packetsOf(device: number): Promise<Buffer[]> {
  const data = await wholeStream('setup-then-state');
  const idstr = idstrOf(device);
  const packets: Buffer[] = [];
  for (let at = 0; at < data.length; at += CHUNK_BYTES) {
    packets.push(statePacket({ idstr, index: packets.length, state: data.subarray(at, at + CHUNK_BYTES) }));
  }
  const state = configRecord(STATE.encode(ORDINARY));
  return [...packets, statePacket({ idstr, index: packets.length, stateFlags: 1, state })];
}

/** START, then END and FULL, each with no more than what says that there is nothing. */
function sectionsOf(device: number): { start: Buffer; end: Buffer } {
  const id = 100 + device;
  const footer = (writer: ByteWriter) => Buffer.from(writer.u8(0x7e).u32(id).take());
  const header = (type: number) => new ByteWriter().u8(type).u32(id).text8(idstrOf(device)).u32(0).u32(1);
  const hex = (text: string) => Buffer.from(text, 'hex');
  return {
    start: footer(header(1).bytes(hex(SETUP)).bytes(hex(END))),
    end: Buffer.concat([footer(new ByteWriter().u8(3).u32(id).bytes(hex(END))), footer(header(4).bytes(hex(END)))]),
  };
}

/** A stream with so many devices; `order` arranges the packets of all, which go to the channels in turn. */
export async function stateStream(
  devices: number,
  order: (packets: readonly Buffer[]) => readonly Buffer[] = (packets) => packets,
): Promise<{ main: Buffer; channels: Buffer[]; packets: Buffer[]; eofAt: number }> {
  const { main, channels } = recordedMultifd('none');
  const sections = Array.from({ length: devices }, (_, device) => sectionsOf(device));
  const startAt = Buffer.from(main).indexOf(SWITCHOVER_START);
  const eofAt = eofOf(main);
  const packets = (await Promise.all(sections.map((_, device) => packetsOf(device)))).flat();
  const arranged = order(packets);
  const upToEof = Buffer.concat([
    main.subarray(0, startAt),
    ...sections.map(({ start }) => start),
    main.subarray(startAt, eofAt),
    ...sections.map(({ end }) => end),
  ]);
  return {
    main: Buffer.concat([upToEof, main.subarray(eofAt)]),
    eofAt: upToEof.length,
    channels: channels.map((bytes, channel) =>
      Buffer.concat([bytes, ...arranged.filter((_, n) => n % channels.length === channel)]),
    ),
    packets,
  };
}

/** Offset of a recorded main channel's EOF: behind the last section, `globalstate`. */
function eofOf(main: Uint8Array): number {
  return Buffer.from(main).indexOf(Buffer.from('globalstate')) + 'globalstate'.length + 8 + 104 + 5;
}

/** A device that takes such a stream. */
export function stateDevice(number: number, maxQueuedBytes = Number.MAX_SAFE_INTEGER) {
  const { device } = emulated('setup-then-state');
  const loaded: State[] = [];
  const id = `d${number}`;
  const asSection: DestinationDevice = {
    id,
    idstr: idstrOf(number),
    instanceId: 0,
    version: 1,
    minimumVersion: 1,
    priority: 0,
    stateVersion: 1,
    transfer: { multifdTransfer: 'auto', maxQueuedBytes },
    extent: (version, place) => STATE.extent(version, place),
    decode: (bytes, place) => STATE.decode(bytes, place),
    load: async ({ bytes, ...place }) => void loaded.push(STATE.decode(bytes, place)),
    vfio: {
      features: device.features,
      setState: async (target, recover) => {
        await device.setState(target, recover);
        return device.state;
      },
      state: async () => device.state,
      precopyInfo: async () => device.precopyInfo(),
      stopCopyBytes: async () => device.stopCopyBytes(),
      read: (maxBytes) => device.read(maxBytes),
      write: async (bytes) => ({ tookMs: await device.write(bytes) }),
      landed: () => Promise.reject(new Error('this device has no landing')),
      ready: () => device.ready(),
      reset: () => device.reset(),
    },
  };
  return { asSection, loaded, device };
}
