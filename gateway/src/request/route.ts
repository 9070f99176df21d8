/** route: from the host asked for to the service behind it, in the snapshot of this moment. */
import { refusal } from '../errors.ts';
import type { Route, RouteSnapshot } from '../routes/snapshot.ts';
import type { SuspensionStatus } from '../store/store.ts';
import type { ParsedHead } from './parse.ts';

/** Where a request goes: a published service, or the gateway itself. */
export type Destination = { readonly kind: 'service'; readonly route: Route } | { readonly kind: 'self' };

export interface RouteRules {
  /** The gateway's own domain. */
  readonly domain: string;
  /** Name of the TLS handshake, normalised. */
  readonly servername: string;
}

/**
 * The host must be the name of the handshake, letter for letter: certificates and sessions of one name say
 * nothing about another.
 * @throws `MISDIRECTED`, `NAME_NOT_PUBLISHED`, `NAME_SUSPENDED`
 */
export function findDestination(snapshot: RouteSnapshot, head: ParsedHead, rules: RouteRules): Destination {
  if (head.host !== rules.servername) {
    throw refusal('MISDIRECTED', 'the request is for another name than the connection');
  }
  if (head.host === rules.domain) return { kind: 'self' };
  const route = snapshot.find(head.host);
  // Where one is passed through, a connection from before that may still ask.
  if (route?.opaque !== undefined) throw refusal('MISDIRECTED', 'this name is not served over http here');
  if (route?.suspended !== undefined) throw suspended(route.suspended, rules.domain);
  if (route) return { kind: 'service', route };
  if (snapshot.isHeld(head.host)) throw refusal('NAME_NOT_PUBLISHED', 'nothing is published under this name now');
  throw refusal('MISDIRECTED', 'no such name is served here');
}

function suspended(status: SuspensionStatus, domain: string): Error {
  const why = status === 451 ? 'for legal reasons' : 'for good';
  return refusal('NAME_SUSPENDED', `the operator of this gateway suspended this name ${why}`, {
    details: { status, domain },
  });
}
