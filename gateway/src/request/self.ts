/**
 * The gateway's own domain: `/.well-known/moat`, by which a domain is resolved once to the PeerIds a contract pins, and the
 * operator's page for reports, where there is one.
 */
import type { SignedGatewayPeers } from '@moat/contract';
import { ABUSE_PATH, abusePage, type AbuseContact } from './abuse.ts';
import { ownAnswer, type OwnAnswer } from './respond.ts';
import { refusal } from '../errors.ts';
import type { ParsedHead } from './parse.ts';

/** What a writer of contracts pins; the same shape as `gateway:` in moat.yaml. */
export interface GatewayIdentity {
  readonly domain: string;
  /** Multiaddrs with `/p2p/<PeerId>`. */
  readonly peers: readonly string[];
  /** `x25519:…`, to which secrets of edge rules are boxed. */
  readonly box: string;
  /** How it came by its PeerIds, for whoever pinned earlier ones. */
  readonly lists?: readonly SignedGatewayPeers[];
}

/** @throws `PATH_UNKNOWN`, `METHOD_REFUSED` */
export function answerSelf(head: ParsedHead, identity: GatewayIdentity, abuse?: AbuseContact): OwnAnswer {
  const path = head.target.split('?', 1)[0];
  const isAbuse = path === ABUSE_PATH && abuse !== undefined;
  if (path !== '/.well-known/moat' && !isAbuse)
    throw refusal('PATH_UNKNOWN', 'this is a Moat gateway; it has no page here');
  if (head.method !== 'GET' && head.method !== 'HEAD') {
    throw refusal('METHOD_REFUSED', 'this page is only read');
  }
  if (isAbuse) return ownAnswer(200, 'OK', 'text/html; charset=utf-8', abusePage(identity.domain, abuse));
  return ownAnswer(200, 'OK', 'application/json; charset=utf-8', `${JSON.stringify(identity)}\n`);
}
