/**
 * The few libc calls that decide speed, through `node:ffi` where this Node has it (26 and later): huge pages for guest
 * RAM, and gathered reads and writes between a socket and RAM. Feature-detected: everything works without, slower.
 */

/** System calls on raw addresses. Callers keep the memory behind every address alive. */
export interface Native {
  /** Address of a view's first byte. The view must not live on the JavaScript heap: shared memory or ≥ 1 KiB. */
  addressOf(view: Uint8Array): number;
  /** Asks for huge pages behind the whole pages of the view; a kernel that cannot is no error. */
  adviseHugePages(view: Uint8Array): void;
  /** Gives the whole pages behind the view back to the system at once; they read as zero afterwards. */
  releasePages(view: Uint8Array): void;
  /** Lays an open file, from `offset` on, over the whole view, which begins at a page: both are the same bytes then. 0 or minus errno. */
  mapShared(fd: number, view: Uint8Array, offset: number): number;
  /** `writev(2)`: `iovAddress` points to `count` pairs of u64 (address, length). Returns bytes, or minus errno. */
  writev(fd: number, iovAddress: number, count: number): number;
  /** `readv(2)`, as writev; 0 is end of file. */
  readv(fd: number, iovAddress: number, count: number): number;
  /** `memcpy(3)` between places that do not overlap; copy.ts says when it is faster. */
  copy(to: number, from: number, length: number): void;
  /** Asks the kernel for socket buffers of this size (bytes); it may grant less. */
  setSocketBuffers(fd: number, bytes: number): void;
  /** As `setSocketBuffers`, for what is to be sent alone. */
  setSendBuffer(fd: number, bytes: number): void;
  /** A TCP socket sends as fast as its peer reads, whatever the system's congestion control (`bbr` paces); one that cannot stays as it is. */
  sendUnpaced(fd: number): void;
  /** `dup(2)` with close-on-exec; returns the new descriptor or minus errno. */
  dup(fd: number): number;
  /** Makes reads and writes on the descriptor wait, for a thread that has nothing else to do. */
  setBlocking(fd: number): void;
  /** Whether a descriptor becomes ready for `events` (`POLL`) within so many milliseconds; the thread stands still until then. */
  isReadyWithin(fd: number, events: number, milliseconds: number): boolean;
  /** Freed memory up to so many bytes stays with the process, for whoever allocates and frees all the time (mallopt(3), where libc has it). */
  keepFreedMemory(bytes: number): void;
  /** `shutdown(2)` of both directions: ends a read or write that waits in another thread. */
  shutdown(fd: number): void;
}

/** errno values callers meet. */
export const ERRNO = { EINTR: 4, EAGAIN: 11, EPIPE: 32, ECONNRESET: 104 } as const;

/** What `isReadyWithin` can wait for (poll(2)). */
export const POLL = { IN: 1, OUT: 4 } as const;

/** Most entries one readv or writev takes (IOV_MAX on Linux). */
export const IOV_MAX = 1024;

const SYSTEM_PAGE_BYTES = 4096;
const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;
const MAP_FAILED = 2n ** 64n - 1n;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
/** Every Linux has it, and every user may choose it. It does not pace. */
const UNPACED = 'reno';
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const O_NONBLOCK = 0o4000;
const SHUT_RDWR = 2;
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;

/** A function of a library; whole numbers of 64 bits and pointers come back as bigint. */
export type NativeFunction = (...args: (number | bigint)[]) => number | bigint;
/** Types of arguments and result, as `node:ffi` names them. */
export interface NativeSignature {
  readonly arguments: string[];
  readonly return: string;
}
interface FfiModule {
  dlopen(path: null, definitions: Record<string, NativeSignature>): { functions: Record<string, NativeFunction> };
  getRawPointer(view: Uint8Array): bigint;
  getInt32(pointer: bigint, offset: number): number;
  toString(pointer: bigint): string;
}

const ffi = openFfi();

/** The calls, or undefined where this Node or platform has no `node:ffi`. SWITCHOVER_NATIVE=0 turns them off. */
export const native: Native | undefined = open();

function open(): Native | undefined {
  try {
    return ffi === undefined ? undefined : bind(ffi);
  } catch {
    return undefined; // a libc that has not all of them: the slower way works
  }
}

function openFfi(): FfiModule | undefined {
  if (process.env['SWITCHOVER_NATIVE'] === '0' || process.platform !== 'linux') return undefined;
  try {
    // Untyped border: @types/node of Node 24 does not know the module.
    return process.getBuiltinModule('node:ffi') as unknown as FfiModule | undefined;
  } catch {
    return undefined; // a Node built without it, or a policy that forbids it
  }
}

/** Functions of libraries that are in this process already; undefined where one of them, or `native`, is not there. */
export function nativeFunctions<Name extends string>(
  signatures: Record<Name, NativeSignature>,
): Record<Name, NativeFunction> | undefined {
  try {
    return ffi?.dlopen(null, signatures).functions as Record<Name, NativeFunction> | undefined;
  } catch {
    return undefined;
  }
}

/** The text that a function returned a pointer to. */
export function nativeText(pointer: number | bigint): string {
  return ffi?.toString(BigInt(pointer)) ?? '';
}

function bind(ffi: FfiModule): Native {
  const { functions } = ffi.dlopen(null, {
    madvise: { arguments: ['u64', 'u64', 'i32'], return: 'i32' },
    mmap: { arguments: ['u64', 'u64', 'i32', 'i32', 'i32', 'i64'], return: 'u64' },
    writev: { arguments: ['i32', 'u64', 'i32'], return: 'i32' },
    readv: { arguments: ['i32', 'u64', 'i32'], return: 'i32' },
    memcpy: { arguments: ['u64', 'u64', 'u64'], return: 'u64' },
    setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
    poll: { arguments: ['u64', 'u64', 'i32'], return: 'i32' },
    fcntl: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
    shutdown: { arguments: ['i32', 'i32'], return: 'i32' },
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const call = (name: string): NativeFunction => {
    const found = functions[name];
    if (found === undefined) throw new Error(`libc has no ${name}`);
    return found;
  };
  const [madvise, writev, readv, setsockopt] = [call('madvise'), call('writev'), call('readv'), call('setsockopt')];
  const [mmap, memcpy, poll, fcntl, shutdown, errnoLocation] = [
    call('mmap'),
    call('memcpy'),
    call('poll'),
    call('fcntl'),
    call('shutdown'),
    call('__errno_location'),
  ];
  // Only glibc has it.
  const mallopt = nativeFunctions({ mallopt: { arguments: ['i32', 'i32'], return: 'i32' } })?.mallopt;
  const addressOf = (view: Uint8Array) => Number(ffi.getRawPointer(view));
  const orErrno = (result: number | bigint) =>
    Number(result) >= 0 ? Number(result) : -ffi.getInt32(errnoLocation() as bigint, 0);
  const option = new Int32Array(new SharedArrayBuffer(4));
  const optionAddress = ffi.getRawPointer(new Uint8Array(option.buffer));
  const unpaced = Buffer.from(new SharedArrayBuffer(UNPACED.length));
  unpaced.write(UNPACED, 'latin1');
  const unpacedAddress = ffi.getRawPointer(unpaced);
  const polled = new Int32Array(new SharedArrayBuffer(8));
  const polledAddress = BigInt(addressOf(new Uint8Array(polled.buffer)));
  return {
    addressOf,
    adviseHugePages: (view) => {
      const [start, end] = wholePages(addressOf(view), view.byteLength);
      if (end > start) madvise(BigInt(start), BigInt(end - start), MADV_HUGEPAGE);
    },
    releasePages: (view) => {
      madvise(BigInt(addressOf(view)), BigInt(view.byteLength), MADV_DONTNEED);
    },
    mapShared: (fd, view, offset) => {
      const [start, bytes] = [BigInt(addressOf(view)), BigInt(view.byteLength)];
      const mapped = BigInt(mmap(start, bytes, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, BigInt(offset)));
      return mapped === MAP_FAILED ? -ffi.getInt32(errnoLocation() as bigint, 0) : 0;
    },
    writev: (fd, iovAddress, count) => orErrno(writev(fd, BigInt(iovAddress), count)),
    readv: (fd, iovAddress, count) => orErrno(readv(fd, BigInt(iovAddress), count)),
    copy: (to, from, length) => {
      memcpy(BigInt(to), BigInt(from), BigInt(length));
    },
    setSocketBuffers: (fd, bytes) => {
      option[0] = bytes;
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, optionAddress, 4);
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, optionAddress, 4);
    },
    setSendBuffer: (fd, bytes) => {
      option[0] = bytes;
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, optionAddress, 4);
    },
    sendUnpaced: (fd) => {
      setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpacedAddress, UNPACED.length);
    },
    dup: (fd) => orErrno(fcntl(fd, F_DUPFD_CLOEXEC, 0)),
    setBlocking: (fd) => {
      fcntl(fd, F_SETFL, Number(fcntl(fd, F_GETFL, 0)) & ~O_NONBLOCK);
    },
    isReadyWithin: (fd, events, milliseconds) => {
      polled[0] = fd;
      polled[1] = events; // and none returned yet
      return Number(poll(polledAddress, 1n, milliseconds)) > 0;
    },
    keepFreedMemory: (bytes) => {
      mallopt?.(M_MMAP_THRESHOLD, bytes);
      mallopt?.(M_TRIM_THRESHOLD, bytes);
    },
    shutdown: (fd) => {
      shutdown(fd, SHUT_RDWR);
    },
  };
}

/** Start and end of the system's pages that lie wholly in `length` bytes from `address` on. */
function wholePages(address: number, length: number): [start: number, end: number] {
  const up = Math.ceil(address / SYSTEM_PAGE_BYTES) * SYSTEM_PAGE_BYTES;
  return [up, Math.floor((address + length) / SYSTEM_PAGE_BYTES) * SYSTEM_PAGE_BYTES];
}
