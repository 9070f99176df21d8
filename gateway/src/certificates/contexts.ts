/**
 * SNI → TLS context. Only names the gateway knows get one, when they are first asked for: a context costs 0.4 ms and
 * 29 KiB to make. Names under one certificate share one context, so a wildcard is one context for 100,000 names.
 * Bounds: `capacity` contexts and `nameCapacity` names that a certificate was found for, or found missing; of each the
 * least recently used is dropped.
 */
import { constants } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { Clock } from '@moat/core';
import type { MtlsWay } from '../publications/edge-rules.ts';

/** A certificate chain with its key, PEM. */
export interface CertificatePair {
  readonly certificate: string;
  readonly key: string;
  /** Milliseconds since the epoch from which on a new one should be asked for. */
  readonly renewAtMs: number;
}

/** Where certificates come from: a local authority, files, an authority of the public. */
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
  /** @defaultValue 20000 */
  readonly nameCapacity?: number;
}

/**
 * TLS 1.2 and 1.3, forward secret AEAD suites only. No session is resumed: a session of TLS 1.2 does not say the name
 * it was made for, which is what a request is judged by; and of TLS 1.3 it would save a fifth of a handshake's CPU
 * time for a key that lives as long as the process.
 */
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
  // Of what both speak the first of these, but ChaCha20 where the client has it first, as phones without AES do.
  secureOptions:
    constants.SSL_OP_NO_TICKET | constants.SSL_OP_CIPHER_SERVER_PREFERENCE | constants.SSL_OP_PRIORITIZE_CHACHA,
};

/** A name without a certificate is asked for again after this. */
const MISSING_MS = 60_000;

/** What is known of a name: its certificate, or that there is none. */
interface Entry {
  readonly pair: CertificatePair | undefined;
  readonly renewAtMs: number;
}

interface Made {
  readonly key: string;
  readonly context: SecureContext;
}

export class SecureContexts {
  readonly #deps: SecureContextsDeps;
  readonly #capacity: number;
  readonly #nameCapacity: number;
  /** By host; insertion order is order of use. */
  readonly #entries = new Map<string, Entry>();
  /** By certificate chain; insertion order is order of use. */
  readonly #contexts = new Map<string, Made>();
  /** Counts up with each change that was told. */
  #changes = 0;
  /** Bound: one a name that is being asked for, which clients' connections bound. */
  readonly #finding = new Map<string, Promise<Entry>>();

  constructor(deps: SecureContextsDeps, options: SecureContextsOptions = {}) {
    this.#deps = deps;
    this.#capacity = options.capacity ?? 1_000;
    this.#nameCapacity = options.nameCapacity ?? 20_000;
  }

  /** The context for `host` (normalised), with authorities of client certificates where they are asked for; undefined when the gateway does not answer for it. */
  async get(host: string, mtls?: Pick<MtlsWay, 'ca'>): Promise<SecureContext | undefined> {
    if (!this.#deps.knows(host)) {
      this.#entries.delete(host);
      return undefined;
    }
    const known = this.#entries.get(host);
    if (known && this.#deps.clock.now() < known.renewAtMs) {
      use(this.#entries, host, known, this.#nameCapacity);
      return this.#contextOf(known, mtls?.ca);
    }
    let finding = this.#finding.get(host);
    if (!finding) {
      finding = this.#find(host).finally(() => this.#finding.delete(host));
      this.#finding.set(host, finding);
    }
    return this.#contextOf(await finding, mtls?.ca);
  }

  /** There is another certificate for these names, wildcards among them: who comes next gets it. Connections keep theirs. */
  forget(names: readonly string[]): void {
    const changed = new Set(names);
    for (const host of this.#entries.keys()) {
      if (changed.has(host) || changed.has(`*${host.slice(host.indexOf('.'))}`)) this.#entries.delete(host);
    }
    this.#changes += 1;
  }

  async #find(host: string): Promise<Entry> {
    const changes = this.#changes;
    const pair = await this.#deps.source.certificateFor(host);
    if (!pair) this.#deps.onMissing(host);
    const now = this.#deps.clock.now();
    // What was found may be what has just been replaced.
    const untilMs = changes === this.#changes ? (pair?.renewAtMs ?? now + MISSING_MS) : now;
    const entry = { pair, renewAtMs: untilMs };
    use(this.#entries, host, entry, this.#nameCapacity);
    return entry;
  }

  #contextOf({ pair }: Entry, ca: string | undefined): SecureContext | undefined {
    if (!pair) return undefined;
    const { certificate, key } = pair;
    const id = ca === undefined ? certificate : certificate + ca;
    let made = this.#contexts.get(id);
    if (made?.key !== key) {
      made = { key, context: createSecureContext({ ...TLS_OPTIONS, cert: certificate, key, ...(ca && { ca }) }) };
    }
    use(this.#contexts, id, made, this.#capacity);
    return made.context;
  }
}

/** Makes the entry the youngest; above `capacity` the oldest goes. */
function use<V>(entries: Map<string, V>, key: string, value: V, capacity: number): void {
  entries.delete(key);
  entries.set(key, value);
  if (entries.size <= capacity) return;
  const [oldest] = entries.keys();
  if (oldest !== undefined) entries.delete(oldest);
}
