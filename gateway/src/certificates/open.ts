/** The source of certificates that gateway.yaml names: files, an authority of the public, or the gateway's own. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuthorityOptions, ChallengeSolver } from '@moat/acme';
import type { Clock, Logger } from '@moat/core';
import { readPrivateFile } from '@moat/identity';
import type { GatewayConfig } from '../config.ts';
import { refusal } from '../errors.ts';
import type { GatewayStore } from '../store/store.ts';
import { AcmeSource } from './acme.ts';
import type { AuthorityConfig } from './acme-config.ts';
import { createBoardSolvers } from './board-solvers.ts';
import type { ChallengeChange } from './challenge-board.ts';
import { openFileCertificates } from './files.ts';
import { openLocalAuthority, type LocalAuthority } from './local-ca.ts';
import { createSealedStore, loadOrCreateSealingKey } from './sealed-store.ts';
import type { Certificates } from './source.ts';

export interface OpenCertificatesDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: GatewayStore;
  /** Hosts that lead somewhere and whose TLS ends here. */
  hosts(): readonly string[];
  /** Shows proofs; resolves when every process that carries traffic does. */
  show(change: ChallengeChange): Promise<void>;
  /** There are other certificates for these names. */
  changed(names: readonly string[]): void;
  /** Proves by DNS what the gateway's own name servers answer for. */
  readonly dns: ChallengeSolver;
}

export interface OpenedCertificates {
  readonly certificates: Certificates;
  /** Where the gateway is its own authority. */
  readonly authority: LocalAuthority | undefined;
}

/** Reads what it needs; nothing is ordered before `start`. @throws `CERTIFICATE_INVALID`, codes of private files */
export async function openCertificates(deps: OpenCertificatesDeps, config: GatewayConfig): Promise<OpenedCertificates> {
  const { clock, logger } = deps;
  const changed = (names: readonly string[]): void => deps.changed(names);
  const { domain, listen, stateDirectory, tls } = config;
  if (tls === 'local') {
    const authority = await openLocalAuthority({ clock }, { directory: stateDirectory, domain });
    return { authority, certificates: new LocalCertificates(authority, domain) };
  }
  if ('files' in tls) {
    return { authority: undefined, certificates: await openFileCertificates({ clock, logger, changed }, tls.files) };
  }
  const authorities = await Promise.all(tls.acme.authorities.map(readAuthority));
  const key = await loadOrCreateSealingKey(join(stateDirectory, 'certificates.key'));
  const solvers = createBoardSolvers(deps, { http: listen.http !== undefined });
  const certificates = new AcmeSource(
    {
      clock,
      logger,
      store: createSealedStore({ logger, store: deps.store, key }),
      solvers: [...solvers, deps.dns],
      hosts: () => deps.hosts(),
      changed,
    },
    { domain, authorities, challenges: tls.acme.challenges },
  );
  return { authority: undefined, certificates };
}

async function readAuthority({ directory, email, caFile, eab, profile }: AuthorityConfig): Promise<AuthorityOptions> {
  return {
    directory,
    ...(email !== undefined && { email }),
    ...(profile !== undefined && { profile }),
    ...(caFile !== undefined && { trust: await readTrust(caFile) }),
    ...(eab && { eab: { kid: eab.kid, hmacKey: (await readPrivateFile(eab.keyFile)).trim() } }),
  };
}

async function readTrust(file: string): Promise<string> {
  try {
    const text = await readFile(file, 'utf8');
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
    throw new Error('no certificate in PEM');
  } catch (cause) {
    throw refusal('CERTIFICATE_INVALID', `cannot use ${file}, which the authority's https is to be verified by`, {
      cause,
      details: { certificate: file },
    });
  }
}

/** The gateway's own authority as a source: nothing to wait for, nothing to renew ahead. */
class LocalCertificates implements Certificates {
  readonly #authority: LocalAuthority;
  readonly #domain: string;

  constructor(authority: LocalAuthority, domain: string) {
    this.#authority = authority;
    this.#domain = domain;
  }

  certificateFor: Certificates['certificateFor'] = (host) => this.#authority.certificateFor(host);

  list(): ReturnType<Certificates['list']> {
    const none = { issuer: null, notBefore: null, notAfter: null, next: null, failure: null, explanation: null };
    const names = [this.#domain, `*.${this.#domain}`];
    return [{ ...none, names, source: 'local', state: 'valid', origin: this.#authority.certificatePath }];
  }

  issuers(): readonly [] {
    return [];
  }

  namesChanged(): void {
    // Each name's is made when it is asked for.
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
