/** What a client showed in the handshake, as it counts here: held by OpenSSL against the authorities of one name alone. */
import type { TLSSocket } from 'node:tls';
import type { MtlsWay } from '../publications/edge-rules.ts';
import type { ClientAddress } from './client-request.ts';

const MAX_USER_CHARS = 256;
const MAX_SUBJECT_CHARS = 1_024;

/** `client` with the certificate that it showed, where it is one of these authorities'. */
export function withCertificate(client: ClientAddress, socket: TLSSocket, { mark }: MtlsWay): ClientAddress {
  const certificate = socket.getPeerX509Certificate();
  // A Node without its inner way verified nothing that we could see.
  const { _handle: inner } = socket as TLSSocket & { readonly _handle?: { verifyError?(): unknown } | null };
  if (certificate === undefined || typeof inner?.verifyError !== 'function') return client;
  const problem = inner.verifyError();
  if (problem !== null && problem !== undefined) return client;
  const fingerprint = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
  const parts = certificate.subject.split('\n');
  const name = parts.find((part) => part.startsWith('CN='))?.slice(3) ?? '';
  const subject = printable(parts.join(',')).slice(0, MAX_SUBJECT_CHARS);
  return {
    ...client,
    certificate: {
      authority: mark,
      user: name === '' || name.length > MAX_USER_CHARS ? fingerprint : name,
      field: `Hash=${fingerprint};Subject="${subject}"`,
      untilMs: Date.parse(certificate.validTo),
    },
  };
}

/** Whatever could end the quotes, or is no ASCII, as in a URL. */
function printable(text: string): string {
  return text.toWellFormed().replaceAll(/[^ !#$&-[\]-~]/gu, encodeURIComponent);
}
