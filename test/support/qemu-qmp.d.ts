/** qemu-qmp has no types of its own: what the tests use of it. */

declare module 'qemu-qmp' {
  import type { Socket } from 'node:net';

  /** A socket that speaks QMP. */
  export default class QemuQmp extends Socket {
    connect(path: string, callback: (error: Error | null) => void): this;
    execute(
      command: string,
      args: Record<string, unknown>,
      callback: (error: Error | null, value: unknown) => void,
    ): void;
  }
}
