/** `tls-creds-x509`: certificates in QEMU's directory layout, as `node:tls` takes them. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { HarnessError, messageOf } from '../../base/errors.ts';
import { type CredentialsFile, credentialsFile, optionalCredentialsFile } from './tls-files.ts';

/** What object-add takes. */
export interface X509Arguments {
  readonly 'verify-peer'?: boolean;
  readonly dir?: string;
  readonly endpoint?: 'client' | 'server';
  readonly priority?: string;
  readonly 'sanity-check'?: boolean;
}

/** Credentials that were read and are in form; PEM texts. A client may have no certificate. */
export interface X509Credentials {
  readonly type: 'tls-creds-x509';
  readonly endpoint: 'client' | 'server';
  /** Check the other side's certificate: default true. */
  readonly verifyPeer: boolean;
  /** GnuTLS's priority string, as given. */
  readonly priority?: string;
  readonly authority: Buffer;
  readonly revocations?: Buffer;
  readonly identity?: { readonly certificate: Buffer; readonly key: Buffer };
}

/** Reads and checks the files. Throws `qmp/generic`. */
export function loadX509Credentials(args: X509Arguments): X509Credentials {
  const { dir, endpoint = 'client', priority } = args;
  const authority = credentialsFile(dir, 'ca-cert.pem');
  const revocations = optionalCredentialsFile(dir, 'ca-crl.pem');
  const read = endpoint === 'server' ? credentialsFile : optionalCredentialsFile;
  const certificate = read(dir, `${endpoint}-cert.pem`);
  const key = read(dir, `${endpoint}-key.pem`);
  if (certificate !== undefined) checkCertificate(certificate, `${endpoint} certificate`);
  checkCertificate(authority, 'CA certificate list');
  if (key !== undefined) checkKey(key, endpoint);
  return {
    type: 'tls-creds-x509',
    endpoint,
    verifyPeer: args['verify-peer'] ?? true,
    ...(priority === undefined ? {} : { priority }),
    authority: authority.content,
    ...(revocations === undefined ? {} : { revocations: revocations.content }),
    ...(certificate === undefined || key === undefined
      ? {}
      : { identity: { certificate: certificate.content, key: key.content } }),
  };
}

function checkCertificate({ path, content }: CredentialsFile, what: string): void {
  try {
    new X509Certificate(content);
  } catch (cause) {
    throw unusable(`Unable to import ${what} ${path}: ${messageOf(cause)}`, cause);
  }
}

function checkKey({ path, content }: CredentialsFile, endpoint: string): void {
  try {
    createPrivateKey(content);
  } catch (cause) {
    throw unusable(`Unable to import ${endpoint} key ${path}: ${messageOf(cause)}`, cause);
  }
}

function unusable(text: string, cause: unknown): HarnessError {
  return new HarnessError('qmp/generic', { text }, { cause });
}
