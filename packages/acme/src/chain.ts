/** A chain as an authority sent it: read, and held against what was asked for. */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { failure } from './errors.ts';
import { loadX509 } from './x509.ts';

/** What is known of a chain by reading it. */
export interface ChainFacts {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Common name of the issuer, or its organisation. */
  readonly issuer: string;
}

const MAX_CERTIFICATES = 10;
/** Clocks of authorities differ from ours. */
const SKEW_MS = 300_000;

/**
 * Reads a chain and holds it against the order.
 * @param pem leaf first
 * @throws `ACME_CERTIFICATE_WRONG`
 */
export function checkChain(
  pem: string,
  { names, key, nowMs }: { readonly names: readonly string[]; readonly key: string; readonly nowMs: number },
): ChainFacts {
  try {
    const chain = splitChain(pem);
    const [leaf] = chain;
    if (!leaf || chain.length > MAX_CERTIFICATES) throw new Error('it is no chain of certificates');
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('it is for another key');
    const covered = namesOf(leaf);
    const missing = names.find((name) => !covered.includes(name));
    if (missing !== undefined) throw new Error(`it does not cover ${missing}`);
    const facts = readChain(pem);
    if (facts.notAfterMs <= nowMs) throw new Error('it is over');
    if (facts.notBeforeMs > nowMs + SKEW_MS) throw new Error('it is not valid yet');
    for (const [index, issued] of chain.entries()) {
      const issuer = chain[index + 1];
      if (!issuer) continue;
      if (!issued.checkIssued(issuer) || !issued.verify(issuer.publicKey)) throw new Error('it is not one chain');
    }
    return facts;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : '';
    throw failure(
      'ACME_CERTIFICATE_WRONG',
      `the authority sent a certificate that is not what was ordered: ${reason}`,
      {
        cause,
      },
    );
  }
}

/** Reads a chain that was checked before. */
export function readChain(pem: string): ChainFacts {
  const leaf = new X509Certificate(pem);
  return {
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
    issuer: issuerOf(leaf),
  };
}

/**
 * RFC 9773 §4.1: how an authority knows the certificate, `base64url(AKI).base64url(serial)`; undefined where it has no
 * key identifier of its issuer.
 */
export async function renewalIdOf(pem: string): Promise<string | undefined> {
  const { AuthorityKeyIdentifierExtension, X509Certificate: Certificate } = await loadX509();
  const leaf = new Certificate(pem);
  const issuer = leaf.getExtension(AuthorityKeyIdentifierExtension)?.keyId;
  if (issuer === undefined) return undefined;
  // The content of the DER INTEGER: shortest, with a leading zero where it would be negative else.
  const digits = leaf.serialNumber.replace(/^(?:00)+(?=[0-9a-f]{2})/, '');
  const serial = Buffer.from(/^[89a-f]/.test(digits) ? `00${digits}` : digits, 'hex');
  return `${Buffer.from(issuer, 'hex').toString('base64url')}.${serial.toString('base64url')}`;
}

function splitChain(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function namesOf(leaf: X509Certificate): string[] {
  return (leaf.subjectAltName ?? '')
    .split(', ')
    .flatMap((entry) => (entry.startsWith('DNS:') ? [entry.slice(4).toLowerCase()] : []));
}

function issuerOf(leaf: X509Certificate): string {
  const fields = new Map(
    leaf.issuer.split('\n').map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]),
  );
  const organisation = fields.get('O');
  const name = fields.get('CN');
  if (organisation === undefined || name === undefined) return organisation ?? name ?? '';
  return `${organisation} ${name}`;
}
