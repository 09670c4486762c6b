/**
 * A virtio block device with MMIO registers (virtio 1.2, §4.2 and §5.2) on a raw file. Requests are executed by the
 * operating system while the guest goes on; those that have not begun when the machine stops travel in the state and begin
 * at the destination, which opens the same file.
 */

import { type FileHandle, open } from 'node:fs/promises';
import {
  choice,
  count,
  type Device,
  type DeviceContext,
  type DeviceTimer,
  defineDevice,
  flag,
  type RegisterAccess,
  text,
  time,
} from '../../device.ts';
import { CONFORMANCE } from './conformance.ts';
import {
  configurationSpace,
  DEVICE_ID,
  FEATURE,
  INTERRUPT,
  MAGIC,
  QUEUE_SIZE_MAX,
  REGISTER,
  REGISTERS_BYTES,
  SECTOR_BYTES,
  STATUS,
  VENDOR_ID,
  VERSION,
} from './registers.ts';
import { answer, type BlockRequest, execute, type Image, type Outcome, parseRequest } from './request.ts';
import { VIRTIO_BLK_STATE, type VirtioBlkState } from './state.ts';
import { BrokenQueue, giveBack, nextIndex, readChain, takeAvailable } from './virtqueue.ts';

const NS_PER_MS = 1_000_000;
const ALL_ONES = 0xffff_ffff;

const PROPERTIES = {
  file: text('', 'the image, a raw file that both sides of a migration open'),
  readonly: flag(false, 'refuse writes'),
  latency: time(0, 'virtual time from notification to the begin of a request'),
  depth: count(16, 'requests that are executed at the same time', { minimum: 1, maximum: QUEUE_SIZE_MAX }),
  inflight: choice(['keep', 'drain'], 'keep', 'requests that have not begun: send them along, or execute them first'),
};

/** What a driver sets up; capacity and requests apart. */
type Registers = Omit<VirtioBlkState, 'sectors' | 'inFlight'>;

const POWER_ON: Registers = {
  status: 0,
  deviceFeaturesSelect: 0,
  driverFeaturesSelect: 0,
  driverFeatures: 0n,
  queueSelect: 0,
  interruptStatus: 0,
  queue: { size: 0, ready: false, descriptors: 0n, driver: 0n, device: 0n, nextAvailable: 0, nextUsed: 0 },
};

/** The queue's parts in guest RAM, by the register with their address's low half. */
const AREAS = new Map<number, 'descriptors' | 'driver' | 'device'>([
  [REGISTER.QUEUE_DESCRIPTORS, 'descriptors'],
  [REGISTER.QUEUE_DRIVER, 'driver'],
  [REGISTER.QUEUE_DEVICE, 'device'],
]);

/** A request that was taken from the queue and has not begun. */
type Waiting = VirtioBlkState['inFlight'][number];

class VirtioBlk implements Device<VirtioBlkState> {
  readonly #context: DeviceContext<typeof PROPERTIES>;
  readonly #image: Image;
  readonly #offered: bigint;
  readonly #config: Uint8Array;
  readonly #timer: DeviceTimer;
  /** What the operating system is doing for us; empty once the machine has stopped. */
  readonly #executing = new Set<Promise<void>>();
  #registers: Registers = POWER_ON;
  #waiting: Waiting[] = [];
  #phase: 'stopped' | 'running' | 'draining' = 'stopped';
  /** Counts resets: what was begun before one must not reach the guest after it. */
  #life = 0;

  constructor(context: DeviceContext<typeof PROPERTIES>, image: Image) {
    this.#context = context;
    this.#image = image;
    this.#config = configurationSpace(image.sectors);
    const always = FEATURE.VERSION_1 | FEATURE.FLUSH | FEATURE.BLOCK_SIZE | FEATURE.SEGMENTS_MAX;
    this.#offered = image.readOnly ? always | FEATURE.READ_ONLY : always;
    this.#timer = context.timer(() => this.#begin());
  }

  // ── registers ──────────────────────────────────────────────────────────────────────────────────────────────────

  read({ offset, size }: RegisterAccess): number {
    if (offset >= REGISTER.CONFIG) return littleEndian(this.#config, offset - REGISTER.CONFIG, size);
    if (size !== 4) return 0;
    const { queue, ...registers } = this.#registers;
    const selected = registers.queueSelect === 0;
    switch (offset) {
      case REGISTER.MAGIC:
        return MAGIC;
      case REGISTER.VERSION:
        return VERSION;
      case REGISTER.DEVICE_ID:
        return DEVICE_ID;
      case REGISTER.VENDOR_ID:
        return VENDOR_ID;
      case REGISTER.DEVICE_FEATURES:
        return half(this.#offered, registers.deviceFeaturesSelect);
      case REGISTER.QUEUE_SIZE_MAX:
        return selected ? QUEUE_SIZE_MAX : 0;
      case REGISTER.QUEUE_READY:
        return selected && queue.ready ? 1 : 0;
      case REGISTER.INTERRUPT_STATUS:
        return registers.interruptStatus;
      case REGISTER.STATUS:
        return registers.status;
      case REGISTER.SHARED_MEMORY_LENGTH:
      case REGISTER.SHARED_MEMORY_LENGTH + 4:
      case REGISTER.SHARED_MEMORY_BASE:
      case REGISTER.SHARED_MEMORY_BASE + 4:
        return ALL_ONES; // there is none
      default:
        return 0;
    }
  }

  write({ offset, size }: RegisterAccess, value: number): void {
    if (size !== 4) return;
    switch (offset) {
      case REGISTER.DEVICE_FEATURES_SELECT:
        this.#set({ deviceFeaturesSelect: value });
        break;
      case REGISTER.DRIVER_FEATURES_SELECT:
        this.#set({ driverFeaturesSelect: value });
        break;
      case REGISTER.DRIVER_FEATURES:
        this.#setDriverFeatures(value);
        break;
      case REGISTER.QUEUE_SELECT:
        this.#set({ queueSelect: value });
        break;
      case REGISTER.QUEUE_NOTIFY:
        if (value === 0) this.#take();
        break;
      case REGISTER.INTERRUPT_ACKNOWLEDGE:
        this.#setInterrupts(this.#registers.interruptStatus & ~value);
        break;
      case REGISTER.STATUS:
        if (value === 0) this.reset();
        else this.#setStatus(value);
        break;
      default:
        this.#setQueue(offset, value);
    }
  }

  #set(changed: Partial<Registers>): void {
    this.#registers = { ...this.#registers, ...changed };
  }

  #setDriverFeatures(value: number): void {
    const { driverFeaturesSelect, driverFeatures, status } = this.#registers;
    if (driverFeaturesSelect > 1 || (status & STATUS.FEATURES_OK) !== 0) return;
    const shift = BigInt(32 * driverFeaturesSelect);
    this.#set({ driverFeatures: (driverFeatures & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift) });
  }

  #setStatus(value: number): void {
    const { driverFeatures, status } = this.#registers;
    const acceptable = (driverFeatures & ~this.#offered) === 0n && (driverFeatures & FEATURE.VERSION_1) !== 0n;
    const wanted = acceptable ? value : value & ~STATUS.FEATURES_OK;
    this.#set({ status: (wanted & 0xff) | (status & STATUS.NEEDS_RESET) });
  }

  /** While the queue is ready only that can be changed. */
  #setQueue(offset: number, value: number): void {
    const { queue, queueSelect } = this.#registers;
    if (queueSelect !== 0) return;
    if (offset === REGISTER.QUEUE_READY) {
      this.#set({ queue: { ...queue, ready: value === 1 && isQueueSize(queue.size) } });
    } else if (offset === REGISTER.QUEUE_SIZE && !queue.ready) {
      this.#set({ queue: { ...queue, size: value & 0xffff } });
    }
    const area = AREAS.get(offset & ~4);
    if (area === undefined || queue.ready) return;
    const shift = (offset & 4) === 0 ? 0n : 32n;
    const address = (queue[area] & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift);
    this.#set({ queue: { ...queue, [area]: address } });
  }

  #setInterrupts(interruptStatus: number): void {
    this.#set({ interruptStatus });
    this.#context.irq().set(interruptStatus !== 0);
  }

  // ── requests ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes what is available; each request begins when its time has come. */
  #take(): void {
    const { latency } = this.#context.properties;
    const dueNs = this.#context.nowNs() + BigInt(Math.round(latency * NS_PER_MS));
    this.#orBroken(() => {
      for (;;) {
        const { queue, status } = this.#registers;
        if (!queue.ready || (status & STATUS.DRIVER_OK) === 0 || (status & STATUS.NEEDS_RESET) !== 0) return;
        const head = takeAvailable(this.#context.ram, queue);
        if (head === undefined) return;
        this.#set({ queue: { ...queue, nextAvailable: nextIndex(queue.nextAvailable) } });
        this.#waiting.push({ head, dueNs });
      }
    });
    this.#begin();
  }

  /** Begins every request that is due, as many as may be executed at a time. */
  #begin(): void {
    const { depth } = this.#context.properties;
    while (this.#phase !== 'stopped' && this.#executing.size < depth) {
      const [next] = this.#waiting;
      if (next === undefined) return;
      if (this.#phase === 'running' && next.dueNs > this.#context.nowNs()) {
        this.#timer.arm(next.dueNs);
        return;
      }
      this.#waiting.shift();
      this.#orBroken(() => {
        const { ram } = this.#context;
        this.#execute(parseRequest(ram, readChain(ram, this.#registers.queue, next.head)));
      });
    }
  }

  #execute(request: BlockRequest): void {
    const life = this.#life;
    const work = execute(request, this.#image).then((outcome) => {
      this.#executing.delete(work);
      if (life === this.#life) this.#complete(request, outcome);
      this.#begin();
    });
    this.#executing.add(work);
  }

  #complete(request: BlockRequest, outcome: Outcome): void {
    const { ram } = this.#context;
    this.#orBroken(() => {
      const written = answer(ram, request, outcome);
      const { queue } = this.#registers;
      const wanted = giveBack(ram, queue, { head: request.head, written });
      this.#set({ queue: { ...queue, nextUsed: nextIndex(queue.nextUsed) } });
      if (wanted) this.#setInterrupts(this.#registers.interruptStatus | INTERRUPT.USED_BUFFER);
    });
  }

  /** Does something with the guest's rings; when they make no sense the guest is told that a reset is due. */
  #orBroken(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof BrokenQueue)) throw error;
      this.#context.log.warn({ why: error.message }, 'the queue makes no sense; the device needs a reset');
      this.#waiting = [];
      this.#set({ status: this.#registers.status | STATUS.NEEDS_RESET });
      this.#setInterrupts(this.#registers.interruptStatus | INTERRUPT.CONFIGURATION);
    }
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

  start(): void {
    this.#phase = 'running';
    this.#begin();
  }

  async stop(): Promise<void> {
    this.#phase = 'stopped';
    if (this.#context.properties.inflight === 'drain') {
      this.#phase = 'draining';
      this.#begin();
    }
    while (this.#executing.size > 0) await Promise.all(this.#executing);
    this.#phase = 'stopped';
  }

  save(): VirtioBlkState {
    const { queue, ...registers } = this.#registers;
    const inFlight = this.#waiting.map(({ head, dueNs }) => ({ head, dueNs }));
    return { ...registers, queue: { ...queue }, sectors: BigInt(this.#image.sectors), inFlight };
  }

  load({ sectors, inFlight, ...registers }: VirtioBlkState): void {
    const { queue } = registers;
    if (sectors !== BigInt(this.#image.sectors)) {
      throw new Error(`the image has ${this.#image.sectors} sectors, the source's has ${sectors}`);
    }
    if ((registers.driverFeatures & ~this.#offered) !== 0n && (registers.status & STATUS.FEATURES_OK) !== 0) {
      throw new Error(
        `the guest uses features 0x${registers.driverFeatures.toString(16)}, this device offers 0x${this.#offered.toString(16)}`,
      );
    }
    if (queue.ready && !isQueueSize(queue.size))
      throw new Error(`a queue of ${queue.size} descriptors cannot be ready`);
    if (inFlight.some(({ head }) => head >= queue.size)) throw new Error('a request in flight is none of the queue');
    this.#registers = registers;
    this.#waiting = [...inFlight];
    this.#setInterrupts(registers.interruptStatus);
  }

  reset(): void {
    this.#life += 1;
    this.#waiting = [];
    this.#timer.cancel();
    this.#registers = POWER_ON;
    this.#setInterrupts(0);
  }

  async close(): Promise<void> {
    this.#phase = 'stopped';
    this.#life += 1;
    await Promise.all(this.#executing);
    await this.#image.file.close();
  }
}

function isQueueSize(size: number): boolean {
  return size >= 1 && size <= QUEUE_SIZE_MAX && (size & (size - 1)) === 0;
}

/** The low (0) or high (1) 32 bits; there are no others. */
function half(value: bigint, select: number): number {
  return select > 1 ? 0 : Number((value >> BigInt(32 * select)) & 0xffff_ffffn);
}

function littleEndian(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let index = size - 1; index >= 0; index -= 1) value = value * 256 + (bytes[offset + index] ?? 0);
  return value;
}

async function openImage(file: string, readOnly: boolean, id: string): Promise<Image> {
  if (file === '') throw new Error('it needs the property file, a raw image');
  const handle: FileHandle = await open(file, readOnly ? 'r' : 'r+');
  const { size } = await handle.stat();
  return { file: handle, sectors: Math.floor(size / SECTOR_BYTES), readOnly, id };
}

export default defineDevice({
  name: 'virtio-blk',
  summary: 'a virtio block device on a raw file, with requests in flight across a migration',
  properties: PROPERTIES,
  state: VIRTIO_BLK_STATE,
  regions: { registers: { size: REGISTERS_BYTES, bus: 'memory' } },
  conformance: CONFORMANCE,
  create: async (context) => {
    const { file, readonly } = context.properties;
    return new VirtioBlk(context, await openImage(file, readonly, context.id));
  },
});
