/**
 * The part of WebAssembly's JavaScript interface that this project uses, with 64-bit memories. TypeScript has it only in
 * the browser's library, which would also let `document` type-check.
 */
declare namespace WebAssembly {
  interface MemoryDescriptor {
    /** 64 KiB pages; bigint for an `i64` memory. */
    readonly initial: number | bigint;
    readonly maximum?: number | bigint;
    readonly shared?: boolean;
    readonly address?: 'i32' | 'i64';
  }

  class Memory {
    constructor(descriptor: MemoryDescriptor);
    readonly buffer: ArrayBuffer | SharedArrayBuffer;
  }

  class Module {
    constructor(bytes: Uint8Array);
  }

  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory | ((...values: number[]) => number)>>);
    readonly exports: Readonly<Record<string, (...values: number[]) => number>>;
  }
}
