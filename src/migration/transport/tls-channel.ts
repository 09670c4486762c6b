/**
 * Channels through TLS, over tcp and unix sockets (spec/wire.md §5.7): the destination is the server, and not one byte of
 * migration goes out before the handshake is done. `node:tls` does all of it; the bytes go through this process.
 */

import net from 'node:net';
import tls from 'node:tls';
import { HarnessError, messageOf } from '../../base/errors.ts';
import type { GatherList } from '../../threads/segments.ts';
import { LIMITS } from '../../wire/limits.ts';
import type { PskCredentials } from '../objects/tls-psk.ts';
import type { X509Credentials } from '../objects/tls-x509.ts';
import type { ByteSink, ByteSource, Channel } from './channel.ts';
import { EventSource, SocketState } from './socket-channel.ts';

/** A source's side of TLS: with certificates, the name that the server's must have. */
export type ClientTls =
  | { readonly credentials: PskCredentials }
  | { readonly credentials: X509Credentials; readonly hostname: string };

/** A destination's side of TLS: with certificates, `authorize` throws for a distinguished name that may not come in. */
export interface ServerTls {
  readonly credentials: PskCredentials | X509Credentials;
  readonly authorize?: ((distinguishedName: string) => void) | undefined;
}

/** Several pages to a record, so that their number and not the number of views counts. */
const GATHER_BYTES = 262_144;
/** OpenSSL's name for all ciphers with a shared key; those of TLS 1.3 take one as well. */
const PSK_CIPHERS = 'PSK:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256';

/**
 * A TLS 1.3 server sends session tickets after the handshake, and Node cannot leave that out. A QEMU that migrates without a
 * return path never reads them, and a socket that is closed with unread data resets the connection, which takes the end of
 * the stream with it. In TLS 1.2 tickets are part of the handshake.
 */
const SERVER_VERSION = 'TLSv1.2';

/** Connects and shakes hands. Rejects with the socket's own error, or with `transport/tls` once there was a connection. */
export function connectTls(
  target: net.NetConnectOpts,
  options: { uri: string; tls: ClientTls; signal: AbortSignal },
): Promise<Channel> {
  const { uri, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<Channel>();
  const raw = net.connect(target);
  const abort = () => raw.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'));
  signal.addEventListener('abort', abort, { once: true });
  raw.once('error', reject);
  raw.once('connect', () => {
    raw.off('error', reject);
    const socket = tls.connect({ socket: raw, ...clientOptions(options.tls) });
    const refuse = (error: Error) => {
      socket.destroy();
      raw.destroy();
      reject(signal.aborted ? signal.reason : handshakeFailed(uri, error));
    };
    const ended = () => refuse(new Error('The TLS connection was non-properly terminated.'));
    raw.on('error', refuse); // an abort destroys it; the TLS socket may not tell
    socket.once('error', refuse);
    socket.once('close', ended);
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', abort);
      socket.off('error', refuse);
      socket.off('close', ended);
      resolve(new TlsChannel(socket, uri, 'waits for goodbye'));
    });
  });
  if (signal.aborted) abort();
  return promise;
}

/** Shakes hands on a socket that a server accepted with `pauseOnConnect`. Rejects with `transport/tls`. */
export async function acceptTls(raw: net.Socket, uri: string, options: ServerTls): Promise<Channel> {
  // A server that never listens: it is what checks the client's certificate and keeps the deadline.
  const server = tls.createServer({
    ...serverOptions(options),
    maxVersion: SERVER_VERSION,
    handshakeTimeout: LIMITS.TLS_HANDSHAKE_MS,
  });
  const socket = await new Promise<tls.TLSSocket>((resolve, reject) => {
    server.once('secureConnection', resolve);
    server.once('tlsClientError', (error) => reject(handshakeFailed(uri, error)));
    server.emit('connection', raw);
  });
  const channel = new TlsChannel(socket, uri, 'says goodbye');
  try {
    const certificate = socket.getPeerX509Certificate();
    if (certificate !== undefined) options.authorize?.(certificate.subject.split('\n').join(','));
  } catch (error) {
    channel.destroy(messageOf(error));
    throw error;
  }
  return channel;
}

function clientOptions(options: ClientTls): tls.ConnectionOptions {
  if (!('hostname' in options)) {
    const { username, keys } = options.credentials;
    return {
      ciphers: PSK_CIPHERS,
      pskCallback: () => ({ psk: keys.get(username)!, identity: username }), // a client's credentials have its key
      checkServerIdentity: () => undefined, // a key is the identity
    };
  }
  const { credentials, hostname } = options;
  return {
    ...certificates(credentials),
    rejectUnauthorized: credentials.verifyPeer,
    servername: net.isIP(hostname) === 0 ? hostname : '',
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(hostname, certificate),
  };
}

function serverOptions({ credentials }: ServerTls): tls.TlsOptions {
  if (credentials.type === 'tls-creds-psk') {
    const { keys } = credentials;
    return { ciphers: PSK_CIPHERS, pskCallback: (_, identity) => keys.get(identity) ?? null };
  }
  const { verifyPeer } = credentials;
  return { ...certificates(credentials), requestCert: verifyPeer, rejectUnauthorized: verifyPeer };
}

function certificates({ authority, revocations, identity }: X509Credentials): tls.SecureContextOptions {
  return {
    ca: authority,
    ...(revocations === undefined ? {} : { crl: revocations }),
    ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.key }),
  };
}

/** Certificates that are wrong are told in GnuTLS's words, as QEMU's clients know them. */
function handshakeFailed(uri: string, cause: Error): HarnessError {
  const code = 'code' in cause ? String(cause.code) : '';
  return new HarnessError('transport/tls', { uri, why: reasonOf(code, cause) }, { cause });
}

function reasonOf(code: string, cause: Error): string {
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `Certificate does not match the hostname ${(cause as Error & { host?: string }).host ?? ''}`;
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return "The certificate hasn't got a known issuer";
    case 'CERT_HAS_EXPIRED':
      return 'The certificate has expired';
    case 'CERT_NOT_YET_VALID':
      return 'The certificate is not yet activated';
    case 'CERT_REVOKED':
      return 'The certificate has been revoked';
    case 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE':
      return 'Verify failed: No certificate was found.';
    default:
      // OpenSSL's own errors have a reason beside a message for programmers.
      return `TLS handshake failed: ${'reason' in cause ? cause.reason : messageOf(cause)}`;
  }
}

class TlsChannel implements Channel {
  readonly uri: string;
  readonly bidirectional = true;
  readonly sink: ByteSink;
  readonly source: ByteSource;
  readonly #socket: tls.TLSSocket;
  readonly #state: SocketState;
  readonly #closing: 'says goodbye' | 'waits for goodbye';

  constructor(socket: tls.TLSSocket, uri: string, closing: 'says goodbye' | 'waits for goodbye') {
    this.uri = uri;
    this.#closing = closing;
    this.#socket = socket;
    this.#state = new SocketState(socket, uri);
    this.sink = new TlsSink(socket, this.#state);
    this.source = new EventSource(socket, this.#state);
  }

  /**
   * Says goodbye. A source waits until the destination has said so too: with TLS 1.3 a server that does not like its
   * certificate says so when the client believes that all is well, and that must not be lost.
   */
  async close(): Promise<void> {
    const socket = this.#socket;
    if (socket.destroyed) return;
    await this.sink.flush();
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    let alert: Error | undefined;
    socket.once('error', (error) => {
      // A peer that has all it wants may close without reading our goodbye, which resets the connection.
      if ('code' in error && String(error.code).startsWith('ERR_SSL')) alert = error;
    });
    socket.removeAllListeners('data'); // what still comes is not for us
    socket.resume();
    if (this.#closing === 'says goodbye') socket.end(() => socket.destroy());
    else {
      socket.end();
      socket.setTimeout(LIMITS.TLS_CLOSE_MS, () => this.destroy('the destination did not end the connection'));
    }
    await gone;
    if (alert !== undefined) throw this.#state.error();
  }

  destroy(why: string): void {
    this.#state.fail(why);
    this.#socket.destroy();
  }
}

/** Gathers everything in memory of its own: the guest may write to a page while it is being encrypted. */
class TlsSink implements ByteSink {
  readonly #socket: tls.TLSSocket;
  readonly #state: SocketState;
  #gather = Buffer.allocUnsafeSlow(GATHER_BYTES);
  #used = 0;
  #written = 0;

  constructor(socket: tls.TLSSocket, state: SocketState) {
    this.#socket = socket;
    this.#state = state;
  }

  get bytesWritten(): number {
    return this.#written;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      if (this.#used === GATHER_BYTES) await this.flush();
      const count = Math.min(bytes.length - done, GATHER_BYTES - this.#used);
      this.#gather.set(bytes.subarray(done, done + count), this.#used);
      this.#used += count;
      done += count;
    }
  }

  async writeBatch(batch: GatherList): Promise<void> {
    for (let index = 0; index < batch.entryCount; index++) {
      const view = batch.view(index);
      if (this.#used + view.length > GATHER_BYTES) await this.flush();
      if (view.length > GATHER_BYTES) await this.write(view);
      else {
        this.#gather.set(view, this.#used);
        this.#used += view.length;
      }
    }
    await this.flush();
  }

  async flush(): Promise<void> {
    this.#state.check();
    const length = this.#used;
    if (length === 0) return;
    this.#used = 0;
    const bytes = this.#gather.subarray(0, length);
    await this.#state.wait<void>((resolve) => this.#socket.write(bytes, (error) => error ?? resolve()));
    this.#written += length;
  }
}
