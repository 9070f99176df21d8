/** Certificates the operator keeps as PEM files; read again when they change, so renewal needs no restart. */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { Clock } from '@moat/core';
import { refusal } from '../errors.ts';
import type { CertificatePair, CertificateSource } from './contexts.ts';

export interface CertificateFiles {
  /** PEM chain, leaf first. */
  readonly certificate: string;
  /** PEM key. */
  readonly key: string;
}

export interface FileCertificatesDeps {
  readonly clock: Clock;
}

interface Loaded {
  readonly files: CertificateFiles;
  readonly stamp: string;
  readonly pair: { readonly certificate: string; readonly key: string };
  readonly leaf: X509Certificate;
}

/** Files are looked at again this long after. */
const RECHECK_MS = 60_000;

/**
 * Reads all pairs once, so that a wrong one fails the start.
 * @throws `CERTIFICATE_INVALID`
 */
export async function openFileCertificates(
  deps: FileCertificatesDeps,
  pairs: readonly CertificateFiles[],
): Promise<CertificateSource> {
  let loaded = await Promise.all(pairs.map((files) => load(files)));
  let checkedMs = deps.clock.now();
  let checking: Promise<void> | undefined;
  // A pair that broke since it was loaded keeps its last good state.
  const check = async (now: number): Promise<void> => {
    loaded = await Promise.all(
      loaded.map(async (entry) =>
        (await stampOf(entry.files)) === entry.stamp ? entry : load(entry.files).catch(() => entry),
      ),
    );
    checkedMs = now;
  };
  return {
    async certificateFor(host: string): Promise<CertificatePair | undefined> {
      const now = deps.clock.now();
      // Once for all names that ask, not once for each.
      if (now - checkedMs >= RECHECK_MS) await (checking ??= check(now).finally(() => (checking = undefined)));
      const covering = loaded.filter(({ leaf }) => leaf.checkHost(host, { subject: 'never' }) !== undefined);
      const best = covering.sort((a, b) => b.leaf.validToDate.getTime() - a.leaf.validToDate.getTime())[0];
      return best && { ...best.pair, renewAtMs: checkedMs + RECHECK_MS };
    },
  };
}

async function load(files: CertificateFiles): Promise<Loaded> {
  try {
    const stamp = await stampOf(files);
    const [certificate, key] = await Promise.all([readFile(files.certificate, 'utf8'), readFile(files.key, 'utf8')]);
    const leaf = new X509Certificate(certificate);
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the key is not the key of the certificate');
    return { files, stamp, pair: { certificate, key }, leaf };
  } catch (error) {
    throw refusal('CERTIFICATE_INVALID', `cannot use the certificate ${files.certificate}`, {
      cause: error,
      details: { certificate: files.certificate },
    });
  }
}

async function stampOf(files: CertificateFiles): Promise<string> {
  const stats = await Promise.all(
    [stat(files.certificate), stat(files.key)].map((entry) => entry.catch(() => undefined)),
  );
  return stats.map((entry) => (entry ? `${entry.mtimeMs}/${entry.size}/${entry.ino}` : 'gone')).join(' ');
}
