/**
 * Certificates the operator keeps as PEM files. They are looked at every few seconds and taken over when they changed, so
 * renewal needs no reload; a pair that does not fit together is said, and the last good one stays.
 */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { GatewayCertificate } from '@moat/admin-api';
import { isMoatError, type Clock, type Logger, type Timer } from '@moat/core';
import { refusal } from '../errors.ts';
import type { CertificatePair } from './contexts.ts';
import { timeOf, type Certificates } from './source.ts';

export interface CertificateFiles {
  /** PEM chain, leaf first. */
  readonly certificate: string;
  /** PEM key. */
  readonly key: string;
}

export interface FileCertificatesDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** There are other certificates for these names. */
  changed(names: readonly string[]): void;
}

interface Loaded {
  readonly files: CertificateFiles;
  readonly stamp: string;
  readonly pair: { readonly certificate: string; readonly key: string };
  readonly leaf: X509Certificate;
  /** What was wrong with the files when they last changed. */
  readonly failure: Failure | undefined;
}

interface Failure {
  readonly stamp: string;
  readonly atMs: number;
  readonly message: string;
}

/** Milliseconds between two looks. */
const LOOK_MS = 2_000;
/** Milliseconds until a context is asked for anew, should a change not have been told. */
const RECHECK_MS = 60_000;

/**
 * Reads all pairs once, so that a wrong one fails the start.
 * @throws `CERTIFICATE_INVALID`
 */
export async function openFileCertificates(
  deps: FileCertificatesDeps,
  pairs: readonly CertificateFiles[],
): Promise<Certificates> {
  return new FileSource(deps, await Promise.all(pairs.map((files) => load(files))));
}

class FileSource implements Certificates {
  readonly #deps: FileCertificatesDeps;
  #loaded: readonly Loaded[];
  #timer: Timer | undefined;

  constructor(deps: FileCertificatesDeps, loaded: readonly Loaded[]) {
    this.#deps = deps;
    this.#loaded = loaded;
  }

  start(): Promise<void> {
    this.#lookLater();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  certificateFor(host: string): Promise<CertificatePair | undefined> {
    const covering = this.#loaded.filter(({ leaf }) => leaf.checkHost(host, { subject: 'never' }) !== undefined);
    const best = covering.toSorted((a, b) => b.leaf.validToDate.getTime() - a.leaf.validToDate.getTime())[0];
    return Promise.resolve(best && { ...best.pair, renewAtMs: this.#deps.clock.now() + RECHECK_MS });
  }

  namesChanged(): void {
    // Files are there for whatever names they cover.
  }

  issuers(): readonly [] {
    return [];
  }

  list(): GatewayCertificate[] {
    const now = this.#deps.clock.now();
    return this.#loaded.map(({ files, leaf, failure }) => ({
      names: namesOf(leaf),
      source: 'files',
      state: leaf.validToDate.getTime() > now ? 'valid' : 'expired',
      issuer: leaf.issuer.replaceAll('\n', ' '),
      notBefore: timeOf(leaf.validFromDate.getTime()),
      notAfter: timeOf(leaf.validToDate.getTime()),
      origin: files.certificate,
      next: null,
      failure: failure
        ? { code: 'CERTIFICATE_INVALID', message: failure.message, at: new Date(failure.atMs).toISOString(), count: 1 }
        : null,
      explanation: null,
    }));
  }

  #lookLater(): void {
    this.#timer = this.#deps.clock.after(LOOK_MS, () => {
      void this.#look().then(() => this.#timer && this.#lookLater());
    });
  }

  async #look(): Promise<void> {
    this.#loaded = await Promise.all(this.#loaded.map((entry) => this.#refreshed(entry)));
  }

  async #refreshed(entry: Loaded): Promise<Loaded> {
    const { files, stamp, failure } = entry;
    const now = await stampOf(files);
    if (now === stamp) return failure ? { ...entry, failure: undefined } : entry;
    if (now === failure?.stamp) return entry;
    const fields = { component: 'gateway.certificates', file: files.certificate };
    try {
      const loaded = await load(files);
      this.#deps.logger.info({ ...fields, until: timeOf(loaded.leaf.validToDate.getTime()) }, 'certificate taken over');
      this.#deps.changed([...namesOf(entry.leaf), ...namesOf(loaded.leaf)]);
      return loaded;
    } catch (err) {
      this.#deps.logger.error({ ...fields, err }, 'a certificate that was replaced cannot be used; the last one stays');
      const message = isMoatError(err) ? err.message : 'cannot be read';
      return { ...entry, failure: { stamp: now, atMs: this.#deps.clock.now(), message } };
    }
  }
}

async function load(files: CertificateFiles): Promise<Loaded> {
  try {
    const stamp = await stampOf(files);
    const [certificate, key] = await Promise.all([readFile(files.certificate, 'utf8'), readFile(files.key, 'utf8')]);
    const leaf = new X509Certificate(certificate);
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the key is not the key of the certificate');
    return { files, stamp, pair: { certificate, key }, leaf, failure: undefined };
  } catch (error) {
    const reason = error instanceof Error ? `: ${error.message}` : '';
    throw refusal('CERTIFICATE_INVALID', `cannot use the certificate ${files.certificate}${reason}`, {
      cause: error,
      details: { certificate: files.certificate },
    });
  }
}

function namesOf(leaf: X509Certificate): string[] {
  const entries = (leaf.subjectAltName ?? '').split(', ');
  return entries.flatMap((entry) => (entry.startsWith('DNS:') ? [entry.slice(4).toLowerCase()] : []));
}

async function stampOf(files: CertificateFiles): Promise<string> {
  const stats = await Promise.all(
    [stat(files.certificate), stat(files.key)].map((entry) => entry.catch(() => undefined)),
  );
  return stats.map((entry) => (entry ? `${entry.mtimeMs}/${entry.size}/${entry.ino}` : 'gone')).join(' ');
}
