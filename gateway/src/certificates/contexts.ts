/**
 * SNI → TLS context. Only names the gateway knows get one; a context costs 0.4 ms and 29 KiB to make
 *, so they are made on demand and kept while used.
 * Bound: `capacity` contexts; the least recently used is dropped.
 */
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { Clock } from '@moat/core';

/** A certificate chain with its key, PEM. */
export interface CertificatePair {
  readonly certificate: string;
  readonly key: string;
  /** Milliseconds since the epoch from which on a new one should be asked for. */
  readonly renewAtMs: number;
}

/** Where certificates come from: a local authority, files, later ACME. */
export interface CertificateSource {
  /** Undefined when there is none for `host`. @throws `CERTIFICATE_INVALID` */
  certificateFor(host: string): Promise<CertificatePair | undefined>;
}

export interface SecureContextsDeps {
  readonly clock: Clock;
  readonly source: CertificateSource;
  /** Whether the gateway answers for `host` at all. */
  knows(host: string): boolean;
  /** A name the gateway answers for has no certificate; told at most once a minute and name. */
  onMissing(host: string): void;
}

export interface SecureContextsOptions {
  /** @defaultValue 1000 */
  readonly capacity?: number;
}

/** TLS 1.2 and 1.3, forward secret AEAD suites only. */
export const TLS_OPTIONS: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'TLS_CHACHA20_POLY1305_SHA256',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
  ].join(':'),
};

/** A name without a certificate is asked for again after this. */
const MISSING_MS = 60_000;

interface Entry {
  readonly context: SecureContext | undefined;
  readonly renewAtMs: number;
}

export class SecureContexts {
  readonly #deps: SecureContextsDeps;
  readonly #capacity: number;
  /** Insertion order is order of use. */
  readonly #entries = new Map<string, Entry>();
  readonly #making = new Map<string, Promise<SecureContext | undefined>>();

  constructor(deps: SecureContextsDeps, options: SecureContextsOptions = {}) {
    this.#deps = deps;
    this.#capacity = options.capacity ?? 1_000;
  }

  /** The context for `host` (normalised); undefined when the gateway does not answer for it. */
  async get(host: string): Promise<SecureContext | undefined> {
    if (!this.#deps.knows(host)) {
      this.#entries.delete(host);
      return undefined;
    }
    const entry = this.#entries.get(host);
    if (entry && this.#deps.clock.now() < entry.renewAtMs) {
      this.#entries.delete(host);
      this.#entries.set(host, entry);
      return entry.context;
    }
    let making = this.#making.get(host);
    if (!making) {
      making = this.#make(host).finally(() => this.#making.delete(host));
      this.#making.set(host, making);
    }
    return making;
  }

  /** Forgets all contexts: certificates were replaced. */
  clear(): void {
    this.#entries.clear();
  }

  async #make(host: string): Promise<SecureContext | undefined> {
    const pair = await this.#deps.source.certificateFor(host);
    const context = pair && createSecureContext({ ...TLS_OPTIONS, cert: pair.certificate, key: pair.key });
    if (!context) this.#deps.onMissing(host);
    this.#entries.set(host, { context, renewAtMs: pair?.renewAtMs ?? this.#deps.clock.now() + MISSING_MS });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#capacity) break;
      this.#entries.delete(oldest);
    }
    return context;
  }
}
