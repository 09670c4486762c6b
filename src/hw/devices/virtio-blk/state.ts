/**
 * The block device's section on the stream: what the driver set up, how far the queue has got, and the requests that were
 * taken from the queue and have not begun. Of those the guest's RAM, which travels as well, has everything but the head.
 */

import { field } from '../../vmstate/field.ts';
import { type StateOf, vmstate } from '../../vmstate/vmstate.ts';

const QUEUE = vmstate({
  name: 'virtio-blk/queue',
  version: 1,
  fields: {
    size: field.u16,
    ready: field.bool,
    descriptors: field.u64,
    driver: field.u64,
    device: field.u64,
    nextAvailable: field.u16,
    nextUsed: field.u16,
  },
});

const REQUEST = vmstate({
  name: 'virtio-blk/request',
  version: 1,
  fields: { head: field.u16, dueNs: field.u64 },
});

/** Its section on the stream. */
export const VIRTIO_BLK_STATE = vmstate({
  name: 'virtio-blk',
  version: 1,
  fields: {
    status: field.u32,
    deviceFeaturesSelect: field.u32,
    driverFeaturesSelect: field.u32,
    driverFeatures: field.u64,
    queueSelect: field.u32,
    interruptStatus: field.u32,
    sectors: field.u64,
    queue: field.struct(QUEUE),
    inFlight: field.list(REQUEST),
  },
});

/** Its state as an object. */
export type VirtioBlkState = StateOf<typeof VIRTIO_BLK_STATE>;
