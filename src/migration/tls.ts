/**
 * What TLS a migration uses: the objects that `tls-creds` and `tls-authz` name, looked up when a channel is opened, with
 * QEMU's words for those that are not there or are another's (spec/control.md §2, §6).
 */

import { HarnessError } from '../base/errors.ts';
import { OBJECT_TYPE_NAMES } from './objects/object-kinds.ts';
import type { ObjectRegistry } from './objects/object-registry.ts';
import type { PskCredentials } from './objects/tls-psk.ts';
import type { X509Credentials } from './objects/tls-x509.ts';
import type { TlsParameters } from './options/options.ts';
import type { Address } from './transport/address.ts';
import type { ClientTls, ServerTls } from './transport/tls-channel.ts';

/** The source's TLS; undefined without. Throws `qmp/generic`. */
export function clientTls(parameters: TlsParameters, objects: ObjectRegistry, address: Address): ClientTls | undefined {
  if (parameters.credentials === '') return undefined;
  const credentials = credentialsOf(parameters.credentials, objects, 'client');
  if (credentials.type === 'tls-creds-psk') return { credentials };
  const hostname = parameters.hostname === '' && address.kind === 'tcp' ? address.host : parameters.hostname;
  if (hostname === '' && credentials.verifyPeer) throw generic('No hostname for certificate validation');
  return { credentials, hostname };
}

/** The destination's TLS; undefined without. Throws `qmp/generic`. */
export function serverTls(parameters: TlsParameters, objects: ObjectRegistry): ServerTls | undefined {
  if (parameters.credentials === '') return undefined;
  const credentials = credentialsOf(parameters.credentials, objects, 'server');
  const { authorization } = parameters;
  return {
    credentials,
    authorize: authorization === '' ? undefined : (name) => authorize(name, authorization, objects),
  };
}

function credentialsOf(
  id: string,
  objects: ObjectRegistry,
  endpoint: 'client' | 'server',
): PskCredentials | X509Credentials {
  const credentials = objects.find(id, 'tls-creds-psk', 'tls-creds-x509');
  if (credentials === undefined) {
    const other = objects.find(id, ...OBJECT_TYPE_NAMES);
    throw generic(
      other === undefined ? `No TLS credentials with id '${id}'` : `Object with id '${id}' is not TLS credentials`,
    );
  }
  if (credentials.endpoint !== endpoint) throw generic(`Expected TLS credentials for a ${endpoint} endpoint`);
  return credentials;
}

function authorize(name: string, id: string, objects: ObjectRegistry): void {
  const object = objects.find(id, 'authz-simple');
  if (object === undefined) throw generic(`Cannot find QAuthZ object ID ${id}`);
  if (object.identity !== name) throw generic(`TLS x509 authz check for ${name} is denied`);
}

function generic(text: string): HarnessError {
  return new HarnessError('qmp/generic', { text });
}
