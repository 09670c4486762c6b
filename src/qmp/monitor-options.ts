/**
 * The options that open QMP monitors, `-qmp`, `-chardev` and `-mon`, as QEMU's command line has them. Pure: nothing is
 * opened here. What we do not have (TLS, reconnecting, readline monitors, other back ends) is refused by its key.
 */

import { HarnessError } from '../base/errors.ts';
import { splitParts } from '../base/option-text.ts';

/** A socket address: a path, or a host (empty for all interfaces) and a port. */
export type SocketEndpoint = { readonly path: string } | { readonly host: string; readonly port: number };

/** One monitor to open; `pretty`: it prints messages of several lines. */
export type MonitorConfig = { readonly pretty?: true } & (
  | { readonly kind: 'stdio' }
  | { readonly kind: 'client'; readonly endpoint: SocketEndpoint; readonly id: string }
  /** `wait`: the start goes on when the first client is there. */
  | { readonly kind: 'server'; readonly endpoint: SocketEndpoint; readonly wait: boolean; readonly id: string }
);

/** The arguments of each of the options, in the order given. */
export interface MonitorOptions {
  /** Of `-qmp` and `-qmp-pretty`. */
  readonly qmp: readonly { readonly text: string; readonly pretty: boolean }[];
  readonly chardevs: readonly string[];
  readonly mons: readonly string[];
}

/** An option's text in parts; taking a key removes it, so that what is left over is unknown. */
interface Parts {
  readonly option: string;
  readonly values: Map<string, string>;
}

const SOCKET_KEYS = 'server, wait, nodelay';

/** The monitors of a command line. Throws `option/bad-value` naming the option and the key. */
export function parseMonitors(options: MonitorOptions): MonitorConfig[] {
  const monitors = options.qmp.map(
    ({ text, pretty }, index) => inForm(parseQmp(text, `compat_monitor${index}`), pretty), // QEMU's names
  );
  const chardevs = new Map<string, MonitorConfig>();
  for (const text of options.chardevs) {
    const { id, monitor } = parseChardev(text);
    if (chardevs.has(id)) throw bad(`-chardev ${text}`, 'an id that no other -chardev has', `'${id}'`);
    chardevs.set(id, monitor);
  }
  for (const text of options.mons) {
    const { chardev: id, pretty } = parseMon(text);
    const monitor = chardevs.get(id);
    if (monitor === undefined)
      throw bad(`-mon ${text}`, 'the id of a -chardev that has no monitor yet', `chardev=${id}`);
    chardevs.delete(id);
    monitors.push(inForm(monitor, pretty));
  }
  for (const id of chardevs.keys()) throw bad('-chardev', 'a -mon that uses it', `id=${id} without one`);
  if (monitors.filter(({ kind }) => kind === 'stdio').length > 1) {
    throw bad('-qmp', 'one monitor on standard input at most', 'several');
  }
  return monitors;
}

/** How an endpoint is written in messages. */
export function endpointName(endpoint: SocketEndpoint): string {
  return 'path' in endpoint ? `unix:${endpoint.path}` : `tcp:${endpoint.host}:${endpoint.port}`;
}

/** `unix:PATH` or `tcp:HOST:PORT` without options; undefined when it is neither. */
export function parseEndpoint(text: string): SocketEndpoint | undefined {
  const path = /^unix:(.+)$/s.exec(text)?.[1];
  if (path !== undefined) return { path };
  const [, bracketed, plain, port] = /^tcp:(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || port === undefined || Number(port) > 65_535) return undefined;
  return { host, port: Number(port) };
}

function parseQmp(text: string, id: string): MonitorConfig {
  const option = `-qmp ${text}`;
  if (text === 'stdio') return { kind: 'stdio' };
  const [address = '', ...rest] = splitParts(text);
  const endpoint = parseEndpoint(address);
  if (endpoint === undefined) throw bad(option, 'unix:PATH, tcp:HOST:PORT or stdio', `'${address}'`);
  const parts = toParts(option, rest);
  const monitor = socketMonitor({ endpoint, id }, parts);
  refuseRest(parts, SOCKET_KEYS);
  return monitor;
}

function parseChardev(text: string): { readonly id: string; readonly monitor: MonitorConfig } {
  const option = `-chardev ${text}`;
  const [backend = '', ...rest] = splitParts(text);
  const parts = toParts(option, rest);
  const id = take(parts, 'id');
  if (id === undefined) throw bad(option, 'id=NAME', 'none');
  if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) throw bad(option, 'an id of letters, digits, - . _', `id=${id}`);
  if (backend !== 'socket' && backend !== 'stdio') throw bad(option, 'the back end socket or stdio', `'${backend}'`);
  const monitor: MonitorConfig =
    backend === 'stdio' ? { kind: 'stdio' } : socketMonitor({ endpoint: chardevEndpoint(parts), id }, parts);
  refuseRest(parts, backend === 'stdio' ? 'id' : `id, path, host, port, ${SOCKET_KEYS}`);
  return { id, monitor };
}

function chardevEndpoint(parts: Parts): SocketEndpoint {
  const path = take(parts, 'path');
  const host = take(parts, 'host');
  const port = take(parts, 'port');
  if (path !== undefined && (host !== undefined || port !== undefined)) {
    throw bad(parts.option, 'either path or host and port', 'both');
  }
  if (path !== undefined) return { path };
  if (port === undefined) throw bad(parts.option, 'path=PATH, or host=HOST and port=PORT', 'neither');
  if (!/^\d+$/.test(port) || Number(port) > 65_535) throw bad(parts.option, 'a port from 0 to 65535', `port=${port}`);
  return { host: host ?? '', port: Number(port) };
}

function parseMon(text: string): { readonly chardev: string; readonly pretty: boolean } {
  const option = `-mon ${text}`;
  const [first = '', ...rest] = splitParts(text);
  const parts = toParts(option, [first.includes('=') ? first : `chardev=${first}`, ...rest]);
  const chardev = take(parts, 'chardev');
  if (chardev === undefined || chardev === '') throw bad(option, 'chardev=ID', 'none');
  const mode = take(parts, 'mode');
  if (mode !== 'control') throw bad(option, 'mode=control', mode === undefined ? 'no mode' : `mode=${mode}`);
  const pretty = takeOnOff(parts, 'pretty') ?? false;
  refuseRest(parts, 'chardev, mode, pretty');
  return { chardev, pretty };
}

function inForm(monitor: MonitorConfig, pretty: boolean): MonitorConfig {
  return pretty ? { ...monitor, pretty } : monitor;
}

function socketMonitor(socket: { endpoint: SocketEndpoint; id: string }, parts: Parts): MonitorConfig {
  const listen = takeOnOff(parts, 'server') ?? false;
  const noWait = takeOnOff(parts, 'nowait');
  const wait = takeOnOff(parts, 'wait') ?? (noWait === undefined ? undefined : !noWait);
  // Node sets TCP_NODELAY only on request, and for messages of a line either does.
  takeOnOff(parts, 'nodelay');
  if (listen) return { kind: 'server', ...socket, wait: wait ?? true };
  if (wait !== undefined) throw bad(parts.option, 'wait only with server=on', 'wait without server=on');
  return { kind: 'client', ...socket };
}

/** `key=value` parts; a bare key means on. The last of several equal keys counts, as in QEMU. */
function toParts(option: string, texts: readonly string[]): Parts {
  const values = new Map<string, string>();
  for (const text of texts) {
    const equals = text.indexOf('=');
    if (text === '' || equals === 0) throw bad(option, 'KEY=VALUE between commas', `'${text}'`);
    values.set(equals === -1 ? text : text.slice(0, equals), equals === -1 ? 'on' : text.slice(equals + 1));
  }
  return { option, values };
}

function take({ values }: Parts, key: string): string | undefined {
  const value = values.get(key);
  values.delete(key);
  return value;
}

function takeOnOff(parts: Parts, key: string): boolean | undefined {
  const text = take(parts, key);
  if (text === undefined) return undefined;
  if (text !== 'on' && text !== 'off') throw bad(parts.option, `${key}=on or ${key}=off`, `${key}=${text}`);
  return text === 'on';
}

function refuseRest({ option, values }: Parts, known: string): void {
  const [key] = values.keys();
  if (key !== undefined) throw bad(option, `one of ${known}`, `'${key}'`);
}

function bad(option: string, expected: string, actual: string): HarnessError {
  return new HarnessError('option/bad-value', { option, expected, actual });
}
