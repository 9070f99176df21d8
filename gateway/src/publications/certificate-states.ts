/** What a member is told of the certificates of names that it serves. */
import type { GatewayCertificate } from '@moat/admin-api';
import type { DeploymentId, PeerId } from '@moat/core';
import type { PublishedCertificate } from '@moat/overlay';
import type { Routes } from '../routes/snapshot.ts';
import type { Ledger } from './ledger.ts';

export interface CertificateStatesDeps {
  readonly ledger: Pick<Ledger, 'upstreams'>;
  readonly routes: Pick<Routes, 'list' | 'endsTls'>;
  /** All that the gateway holds or wants. */
  readonly certificates: () => readonly GatewayCertificate[];
}

/** Names in one answer; a deployment with more sees the first. */
const MAX_NAMES = 200;
const MAX_TEXT = 500;

/** Of the deployment's names whose TLS ends here, each with the best that covers it; nothing for who does not serve it. */
export function certificateStates(
  { ledger, routes, certificates }: CertificateStatesDeps,
  peer: PeerId,
  deployment: DeploymentId,
): PublishedCertificate[] {
  if (!ledger.upstreams(deployment).has(peer)) return [];
  const hosts = routes.list().filter((route) => route.deployment === deployment && routes.endsTls(route.host));
  const byName = new Map<string, GatewayCertificate>();
  for (const each of certificates()) {
    for (const name of each.names) {
      const known = byName.get(name);
      if (known === undefined || (each.notAfter ?? '') > (known.notAfter ?? '')) byName.set(name, each);
    }
  }
  return hosts.slice(0, MAX_NAMES).map(({ host }) => {
    const found = byName.get(host) ?? byName.get(`*${host.slice(host.indexOf('.'))}`);
    return { host, ...stateOf(found) };
  });
}

function stateOf(certificate: GatewayCertificate | undefined): Omit<PublishedCertificate, 'host'> {
  if (certificate === undefined) return { state: 'waiting', issuer: null, notAfter: null, next: null, problem: null };
  const { state, source, issuer, notAfter, next, failure } = certificate;
  // What is wrong with the operator's own files names their paths.
  const problem =
    failure === null || source !== 'acme' ? null : { code: failure.code, message: failure.message.slice(0, MAX_TEXT) };
  return { state, issuer: issuer?.slice(0, MAX_TEXT) ?? null, notAfter, next, problem };
}
