/**
 * Certificates from an authority. Only names that the registry holds, that lead somewhere and whose TLS ends here are ever
 * ordered, and the gateway's own: a handshake starts no order. Where a solver proves wildcards below the domain (the
 * gateway serves its zone), one certificate covers the domain and every name below it; else each name has its own.
 */
import {
  createAcmeCertificates,
  type AcmeCertificates,
  type AuthorityOptions,
  type CertificateIssuer,
  type CertificateReport,
  type CertificateStore,
  type ChallengeSolver,
} from '@moat/acme';
import type { GatewayCertificate } from '@moat/admin-api';
import type { Clock, Logger, Timer } from '@moat/core';
import { isUnderDomain, normaliseHost } from '../names/host.ts';
import type { AcmeConfig } from './acme-config.ts';
import type { CertificatePair } from './contexts.ts';
import { timeOf, type Certificates } from './source.ts';

export interface AcmeSourceDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: CertificateStore;
  readonly solvers: readonly ChallengeSolver[];
  /** Hosts that lead somewhere and whose TLS ends here. */
  hosts(): readonly string[];
  /** There is another certificate for these names. */
  changed(names: readonly string[]): void;
}

export interface AcmeSourceOptions {
  readonly domain: string;
  readonly authorities: readonly AuthorityOptions[];
  readonly challenges: AcmeConfig['challenges'];
}

/** Milliseconds a first handshake waits for the order that runs for its name. */
const WAIT_MS = 8_000;
/** Milliseconds until a context is asked for anew, should a change not have been told. */
const RECHECK_MS = 3_600_000;
/** Milliseconds in which changes of names are gathered. */
const GATHER_MS = 1_000;

export class AcmeSource implements Certificates {
  readonly #deps: AcmeSourceDeps;
  readonly #options: AcmeSourceOptions;
  readonly #certificates: AcmeCertificates;
  #gathering: Timer | undefined;
  /** What was wanted last, to tell a change from none. */
  #wanted = '';

  constructor(deps: AcmeSourceDeps, options: AcmeSourceOptions) {
    this.#deps = deps;
    this.#options = options;
    const { authorities, challenges } = options;
    this.#certificates = createAcmeCertificates(deps, { authorities, ...(challenges && { challenges }) });
    this.#certificates.onObtained(({ names }) => deps.changed(names));
  }

  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    this.#want();
    await this.#certificates.start(options);
  }

  async stop(): Promise<void> {
    this.#gathering?.cancel();
    await this.#certificates.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async certificateFor(host: string): Promise<CertificatePair | undefined> {
    const { clock, logger } = this.#deps;
    const held = await this.#certificates.obtain(host, WAIT_MS);
    if (!held) return undefined;
    const now = clock.now();
    const { certificate, key, notAfterMs } = held;
    if (notAfterMs <= now) {
      const until = timeOf(notAfterMs);
      logger.warn({ component: 'gateway.certificates', host, until }, 'only a certificate that is over covers a name');
    }
    return { certificate, key, renewAtMs: now + RECHECK_MS };
  }

  namesChanged(): void {
    this.#gathering ??= this.#deps.clock.after(GATHER_MS, () => {
      this.#gathering = undefined;
      this.#want();
    });
  }

  list(): GatewayCertificate[] {
    return this.#certificates.list().map(describe);
  }

  issuers(): CertificateIssuer[] {
    return this.#certificates.issuers();
  }

  #want(): void {
    const { domain } = this.#options;
    const hosts = this.#deps.hosts().filter((host) => host !== domain && normaliseHost(host) === host);
    const hasWildcard = this.#provesWildcard();
    const alone = hasWildcard ? hosts.filter((host) => !isUnderDomain(host, domain)) : hosts;
    const wanted = [hasWildcard ? [domain, `*.${domain}`] : [domain], ...alone.toSorted().map((host) => [host])];
    const text = JSON.stringify(wanted);
    if (text === this.#wanted) return;
    this.#wanted = text;
    this.#certificates.want(wanted);
  }

  #provesWildcard(): boolean {
    const { challenges, domain } = this.#options;
    return this.#deps.solvers.some(
      (solver) => solver.solves(domain, true) && (challenges === undefined || challenges.includes(solver.kind)),
    );
  }
}

function describe(report: CertificateReport): GatewayCertificate {
  const { names, state, directory, held, issuer, failure, nextMs, explanation } = report;
  return {
    names,
    source: 'acme',
    state,
    issuer: issuer ?? null,
    notBefore: timeOf(held?.notBeforeMs),
    notAfter: timeOf(held?.notAfterMs),
    origin: directory,
    next: timeOf(nextMs),
    failure: failure
      ? { code: failure.code, message: failure.message, at: new Date(failure.atMs).toISOString(), count: failure.count }
      : null,
    explanation: explanation ?? null,
  };
}
