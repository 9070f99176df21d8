/** The codes this package raises. */
import { MoatError, type ErrorDetails } from '@moat/core';

export const ACME_ERROR_CODES = [
  'ACME_UNREACHABLE', // the certificate authority did not answer, or not as one | check the directory's URL, the way out to it, and `ca` of a private one
  'ACME_REFUSED', // the certificate authority refused the account, the order or the request | read its words in the message
  'ACME_LIMITED', // the certificate authority, or our own count of its limits, allows no further order yet | wait: it is tried again at the time `moat certs show` says
  'ACME_CHALLENGE_FAILED', // the certificate authority did not see the proof that the name leads here | check that the name's DNS records lead to this machine, and that ports 80 or 443 reach it
  'ACME_CAA', // a CAA record of the name allows its certificates to other authorities only | add the authority to the record, or order from one it names
  'ACME_NO_CHALLENGE', // no kind of proof that the authority offers can be given for the name here | allow another kind in `challenges`; a wildcard needs dns-01
  'ACME_ORDER_FAILED', // an order ended without a certificate | read the authority's words; it is tried again by itself
  'ACME_CERTIFICATE_WRONG', // the authority sent a certificate of another key, other names or another time | none here; report it to the authority
] as const;

export type AcmeErrorCode = (typeof ACME_ERROR_CODES)[number];

/** A coded failure of this package. */
export function failure(
  code: AcmeErrorCode,
  message: string,
  options: { readonly details?: ErrorDetails; readonly cause?: unknown; readonly retryable?: boolean } = {},
): MoatError<AcmeErrorCode> {
  return new MoatError<AcmeErrorCode>(code, message, options);
}
