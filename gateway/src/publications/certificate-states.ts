/** What a member is told of the certificates of names that it serves. */
import type { GatewayCertificate } from '@moat/admin-api';
import type { Clock, DeploymentId, PeerId } from '@moat/core';
import type { PublishedCertificate } from '@moat/overlay';
import type { Routes } from '../routes/snapshot.ts';
import type { Ledger } from './ledger.ts';

export interface CertificateStatesDeps {
  readonly clock: Clock;
  readonly ledger: Pick<Ledger, 'upstreams' | 'get' | 'hostOf'>;
  readonly routes: Pick<Routes, 'find' | 'endsTls'>;
  /** All that the gateway holds or wants. */
  readonly certificates: () => readonly GatewayCertificate[];
}

/** Names in one answer; a deployment with more sees the first. */
const MAX_NAMES = 200;
const MAX_TEXT = 500;
/** All certificates are looked through so often at most, however many ask. */
const KEPT_MS = 2_000;

/** Bound: one entry a name of a certificate, as many as the gateway has. */
export class CertificateStates {
  readonly #deps: CertificateStatesDeps;
  #byName: ReadonlyMap<string, GatewayCertificate> = new Map();
  #readMs = -Infinity;

  constructor(deps: CertificateStatesDeps) {
    this.#deps = deps;
  }

  /** Of the deployment's names whose TLS ends here, each with the best that covers it; nothing for who does not serve it. */
  of(peer: PeerId, deployment: DeploymentId): PublishedCertificate[] {
    const { ledger, routes } = this.#deps;
    if (!ledger.upstreams(deployment).has(peer)) return [];
    const published = (ledger.get(deployment)?.publications ?? []).flatMap(({ name }) => ledger.hostOf(name) ?? []);
    const hosts = [...new Set(published)].filter(
      (host) => routes.find(host)?.deployment === deployment && routes.endsTls(host),
    );
    const byName = this.#certificates();
    return hosts.slice(0, MAX_NAMES).map((host) => {
      const found = byName.get(host) ?? byName.get(`*${host.slice(host.indexOf('.'))}`);
      return { host, ...stateOf(found) };
    });
  }

  #certificates(): ReadonlyMap<string, GatewayCertificate> {
    const { certificates, clock } = this.#deps;
    if (Math.abs(clock.now() - this.#readMs) < KEPT_MS) return this.#byName;
    const byName = new Map<string, GatewayCertificate>();
    for (const each of certificates()) {
      for (const name of each.names) {
        const known = byName.get(name);
        if (known === undefined || (each.notAfter ?? '') > (known.notAfter ?? '')) byName.set(name, each);
      }
    }
    this.#byName = byName;
    this.#readMs = clock.now();
    return byName;
  }
}

function stateOf(certificate: GatewayCertificate | undefined): Omit<PublishedCertificate, 'host'> {
  if (certificate === undefined) return { state: 'waiting', issuer: null, notAfter: null, next: null, problem: null };
  const { state, source, issuer, notAfter, next, failure } = certificate;
  // What is wrong with the operator's own files names their paths.
  const problem =
    failure === null || source !== 'acme' ? null : { code: failure.code, message: failure.message.slice(0, MAX_TEXT) };
  return { state, issuer: issuer?.slice(0, MAX_TEXT) ?? null, notAfter, next, problem };
}
