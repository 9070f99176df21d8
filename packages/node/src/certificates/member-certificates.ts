/**
 * This machine's certificates for names that gateways pass through to it: from files that its operator named, else
 * ordered at an authority. Each member has its own key and its own certificate, and no key leaves its machine; orders are
 * spread by chance and by the authority's limits, so that members of one name do not order all at once.
 */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import {
  createAcmeCertificates,
  type AcmeCertificates,
  type AuthorityOptions,
  type CertificateStore,
} from '@moat/acme';
import { MoatError, type Clock, type Links, type Logger, type Service, type Timer } from '@moat/core';
import type { TlsEnds } from '@moat/network';
import type { MemberCertificate } from '@moat/admin-api';
import type { PassedName } from './passed-names.ts';
import { PassedProofs } from './passed-proofs.ts';
import { reportCertificates } from './report.ts';

export interface MemberCertificatesDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: CertificateStore;
  readonly links: Pick<Links, 'list' | 'onLink'>;
  readonly random?: () => number;
  names(): readonly PassedName[];
}

/** A certificate chain and its key, PEM files. */
export interface MemberCertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

export interface MemberCertificatesOptions {
  /** Undefined = none is ordered. */
  readonly authority: AuthorityOptions | undefined;
  readonly files: readonly MemberCertificateFiles[];
}

/** Milliseconds a first handshake waits for an order. */
const WAIT_MS = 8_000;
/** Milliseconds in which changes of names are gathered; each member waits a part of it longer, by chance. */
const GATHER_MS = 200;
const SPREAD_MS = 2_000;

interface FromFile {
  readonly x509: X509Certificate;
  readonly context: SecureContext;
}

export class MemberCertificates implements Service, TlsEnds {
  readonly #deps: MemberCertificatesDeps;
  readonly #options: MemberCertificatesOptions;
  readonly #proofs: PassedProofs;
  readonly #acme: AcmeCertificates | undefined;
  #files: readonly FromFile[] = [];
  /** By certificate. Bound: names of this machine. */
  readonly #contexts = new Map<string, { readonly certificate: string; readonly context: SecureContext }>();
  #gathering: Timer | undefined;
  #wanted = '[]';

  constructor(deps: MemberCertificatesDeps, options: MemberCertificatesOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#proofs = new PassedProofs(deps);
    const { authority } = options;
    this.#acme =
      authority && createAcmeCertificates({ ...deps, solvers: [this.#proofs] }, { authorities: [authority] });
  }

  /** @throws `CERTIFICATE_FILE_INVALID`, and what the store throws */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    this.#files = await Promise.all(this.#options.files.map(readPair));
    await this.#acme?.start(options);
    this.namesChanged();
  }

  async stop(): Promise<void> {
    this.#gathering?.cancel();
    await this.#acme?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** What is passed through to this machine may be another thing now. */
  namesChanged(): void {
    const { clock, random = Math.random } = this.#deps;
    this.#gathering ??= clock.after(GATHER_MS + random() * SPREAD_MS, () => {
      this.#gathering = undefined;
      this.#want();
    });
  }

  report(): MemberCertificate[] {
    return reportCertificates({
      names: this.#deps.names(),
      ordered: this.#acme?.list() ?? [],
      issuers: this.#acme?.issuers() ?? [],
      fileFor: (host) => this.#fileFor(host)?.x509,
      nowMs: this.#deps.clock.now(),
    });
  }

  proofFor(name: string): SecureContext | undefined {
    return this.#proofs.proofFor(name);
  }

  async contextFor(asked: { deployment: string; service: string; name: string }): Promise<SecureContext | undefined> {
    const isOurs = this.#deps
      .names()
      .some(
        ({ host, deployment, service }) =>
          host === asked.name && deployment === asked.deployment && service === asked.service,
      );
    if (!isOurs) return undefined;
    const file = this.#fileFor(asked.name);
    if (file !== undefined) return file.context;
    const held = await this.#acme?.obtain(asked.name, WAIT_MS);
    if (held === undefined) return undefined;
    const { certificate, key } = held;
    const known = this.#contexts.get(asked.name);
    if (known?.certificate === certificate) return known.context;
    const context = createSecureContext({ minVersion: 'TLSv1.2', cert: certificate, key });
    this.#contexts.set(asked.name, { certificate, context });
    return context;
  }

  #fileFor(host: string): FromFile | undefined {
    return this.#files.find(({ x509 }) => x509.checkHost(host, { subject: 'never' }) !== undefined);
  }

  #want(): void {
    const names = new Set(this.#deps.names().map(({ host }) => host));
    const hosts = [...names].filter((host) => this.#fileFor(host) === undefined).sort();
    const text = JSON.stringify(hosts);
    if (text === this.#wanted) return;
    this.#wanted = text;
    for (const host of this.#contexts.keys()) if (!hosts.includes(host)) this.#contexts.delete(host);
    this.#acme?.want(hosts.map((host) => [host]));
  }
}

async function readPair({ certificate, key }: MemberCertificateFiles): Promise<FromFile> {
  try {
    const [cert, secret] = await Promise.all([readFile(certificate, 'utf8'), readFile(key, 'utf8')]);
    const x509 = new X509Certificate(cert);
    return { x509, context: createSecureContext({ minVersion: 'TLSv1.2', cert, key: secret }) };
  } catch (cause) {
    throw new MoatError('CERTIFICATE_FILE_INVALID', `${certificate} and ${key} are no certificate with its key`, {
      cause,
    });
  }
}
