/** COMMAND elements on the destination (spec/wire.md §2, §7; what must fail and what is ignored: §12). */

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { RamBlock } from '../hw/ram.ts';
import { BACKLOG_PING, PROBE_PING } from '../wire/extension.ts';
import { LIMITS } from '../wire/limits.ts';
import { COMMANDS, type CommandName } from '../wire/stream.ts';
import { PeerReporter } from './peer-extension.ts';
import type { ReturnPathWriter } from './return-path.ts';
import { latin1, type StreamReader } from './transport/stream-reader.ts';
import type { AckPolicy } from './vfio/switchover-ack.ts';

const NAMES = new Map<number, CommandName>(
  Object.entries(COMMANDS).map(([name, row]) => [row.id, name as CommandName]),
);

/** What commands act on. */
export interface CommandContext {
  openReturnPath(): Promise<ReturnPathWriter>;
  /** True where the source may find out that it talks to a Switchover: on machines that QEMU does not have. */
  readonly answersProbe: boolean;
  readonly ack: AckPolicy;
  /** Tells a Switchover at the other end how far its devices are. */
  tellDevices(): Promise<void>;
  readonly clock: Clock;
  /** The source has stopped its guest and sends the last of its state. */
  switchover(): void;
  /** Runs the element loop over a package that starts at this stream offset. */
  loadPackage(bytes: Uint8Array, offset: number): Promise<void>;
  readonly blocks: readonly RamBlock[];
  readonly log: Logger;
}

/** Reads commands and does what they say; keeps the return path once it is open. */
export class CommandLoader {
  readonly #context: CommandContext;
  returnPath: ReturnPathWriter | undefined;
  /** There once the source has shown itself to be a Switchover. */
  peer: PeerReporter | undefined;
  #advised = false;
  #packaging = false;

  constructor(context: CommandContext) {
    this.#context = context;
  }

  /** Reads one command, its type byte already read. */
  async load(reader: StreamReader): Promise<void> {
    reader.section = 'command';
    const at = reader.offset;
    const id = await reader.u16('command id');
    const length = await reader.u16('command length');
    const name = NAMES.get(id);
    if (name === undefined) throw reader.bad({ at, field: 'command id', expected: '1 to 11', actual: `${id}` });
    reader.section = `command ${name}`;
    const fixed = COMMANDS[name].length;
    if (fixed !== undefined && length !== fixed) {
      throw reader.bad({ at: at + 2, field: 'command length', expected: `${fixed}`, actual: `${length}` });
    }
    await this.#run(name, { reader, at, length });
  }

  async #run(name: CommandName, command: { reader: StreamReader; at: number; length: number }): Promise<void> {
    const { reader, at, length } = command;
    const { log } = this.#context;
    switch (name) {
      case 'OPEN_RETURN_PATH':
        this.returnPath ??= await this.#context.openReturnPath();
        return;
      case 'PING': {
        const value = await reader.u32('ping value');
        if (this.returnPath === undefined) {
          throw reader.bad({ at, field: 'command id', expected: 'OPEN_RETURN_PATH before a PING', actual: 'PING' });
        }
        if (value === PROBE_PING && this.#context.answersProbe) {
          this.peer ??= new PeerReporter(this.returnPath, this.#context.clock);
          return this.peer.hello(this.#context.ack);
        }
        // One that has not shown what it is gets what a QEMU would say.
        if (value === BACKLOG_PING && this.peer !== undefined) await this.#context.tellDevices();
        return this.returnPath.sendU32('PONG', value);
      }
      case 'POSTCOPY_ADVISE':
        return this.#advise(command);
      case 'POSTCOPY_LISTEN':
      case 'POSTCOPY_RUN':
      case 'POSTCOPY_RAM_DISCARD':
        throw reader.bad({
          at,
          field: 'command id',
          expected: 'a command of precopy',
          actual: name,
          hint: 'postcopy is not supported by this build; switch postcopy-ram and dirty-bitmaps off at the source',
        });
      case 'PACKAGED':
        return this.#packaged(reader, at);
      case 'ENABLE_COLO':
        throw reader.bad({
          at,
          field: 'command id',
          expected: 'no COLO: the x-colo capability is off here',
          actual: name,
        });
      case 'POSTCOPY_RESUME':
        log.warn({ at }, 'POSTCOPY_RESUME outside of a recovery is ignored');
        return;
      case 'RECV_BITMAP':
        return this.#recvBitmap({ reader, at, length });
      case 'SWITCHOVER_START':
        log.info({ at }, 'switchover start');
        this.#context.switchover();
        return;
      default:
        name satisfies never;
    }
  }

  async #advise(command: { reader: StreamReader; at: number; length: number }): Promise<void> {
    const { reader, at, length } = command;
    if (length !== 0) {
      throw reader.bad({
        at: at + 2,
        field: 'command length',
        expected: '0: the postcopy-ram capability is off here',
        actual: `${length}`,
        hint: 'postcopy is not supported by this build; switch postcopy-ram off at the source',
      });
    }
    if (this.#advised)
      throw reader.bad({ at, field: 'command id', expected: 'POSTCOPY_ADVISE at most once', actual: 'a second' });
    this.#advised = true;
  }

  async #packaged(reader: StreamReader, commandAt: number): Promise<void> {
    // Each level would hold a copy of all that is inside it; no source nests them (docs/differences.md).
    if (this.#packaging) {
      const expected = 'no package inside a package';
      throw reader.bad({ at: commandAt, field: 'command id', expected, actual: 'PACKAGED' });
    }
    const at = reader.offset;
    const size = await reader.u32('package size');
    const maximum = LIMITS.PACKAGED_BYTES;
    if (size > maximum)
      throw reader.overLimit({ at, field: 'package size', limit: 'PACKAGED_BYTES', maximum, actual: size });
    // Read piece by piece: the size alone must not make us allocate.
    const pieces: Uint8Array[] = [];
    const start = reader.offset;
    for (let left = size; left > 0; ) {
      if (reader.available === 0) await reader.need(1, 'package');
      const piece = await reader.bytes(Math.min(left, reader.available), 'package');
      pieces.push(piece);
      left -= piece.length;
    }
    this.#packaging = true;
    await this.#context.loadPackage(Buffer.concat(pieces), start);
    this.#packaging = false;
  }

  async #recvBitmap(command: { reader: StreamReader; at: number; length: number }): Promise<void> {
    const { reader, at, length } = command;
    const data = await reader.bytes(length, 'RAM block name');
    const name = latin1(data.subarray(1));
    if (length < 2 || data[0] !== length - 1) {
      throw reader.bad({
        at: at + 2,
        field: 'command length',
        expected: `${(data[0] ?? 0) + 1}, and a name that is not empty`,
        actual: `${length}`,
      });
    }
    if (!this.#context.blocks.some((block) => block.name === name)) {
      const expected = this.#context.blocks.map((block) => `'${block.name}'`).join(', ');
      throw reader.bad({
        at: at + 5,
        field: 'RAM block name',
        expected: `one of ${expected}`,
        actual: JSON.stringify(name),
      });
    }
    this.#context.log.warn({ at }, 'RECV_BITMAP outside of a recovery is ignored');
  }
}
