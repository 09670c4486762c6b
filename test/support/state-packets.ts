/** Device-state packets by the byte (spec/vfio.md §2.6), without the code that is under test. */

/** What is in a packet; everything but `state` has a default. */
export interface PacketPlan {
  readonly idstr?: string;
  /** The 256 bytes of the name's field as they are. */
  readonly idstrField?: Uint8Array;
  readonly instanceId?: number;
  readonly index?: number;
  /** Flags of the frame; default 0x40. */
  readonly flags?: number;
  readonly version?: number;
  /** Flags of the payload; 1 marks the last packet. */
  readonly stateFlags?: number;
  /** What the frame announces; default what there is. */
  readonly dataBytes?: number;
  readonly state?: Uint8Array;
}

const MAGIC = 0x11223344;

/** Name of the first VFIO device of a machine. */
export const IDSTR = '0000:00:02.0/vfio';

/** The bytes of one packet. */
export function statePacket(plan: PacketPlan): Buffer {
  const { idstr = IDSTR, state = Buffer.alloc(0) } = plan;
  const frame = Buffer.alloc(276);
  frame.writeUInt32BE(MAGIC, 0);
  frame.writeUInt32BE(1, 4);
  frame.writeUInt32BE(plan.flags ?? 0x40, 8);
  frame.write(idstr, 12, 'latin1');
  if (plan.idstrField !== undefined) frame.set(plan.idstrField, 12);
  frame.writeUInt32BE(plan.instanceId ?? 0, 268);
  frame.writeUInt32BE(plan.dataBytes ?? 12 + state.length, 272);
  const head = Buffer.alloc(12);
  head.writeUInt32BE(plan.version ?? 0, 0);
  head.writeUInt32BE(plan.index ?? 0, 4);
  head.writeUInt32BE(plan.stateFlags ?? 0, 8);
  return Buffer.concat([frame, head, state]);
}

/** A CONFIG record around a device's ordinary state, as the last packet carries it. */
export function configRecord(state: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from('ffffffffef100002', 'hex'), state, Buffer.from('ffffffffef100001', 'hex')]);
}
