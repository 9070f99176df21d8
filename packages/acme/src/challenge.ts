/** What an authority asks to be shown, and who shows it. */
import { createHash, webcrypto } from 'node:crypto';
import { loadX509 } from './x509.ts';

/** RFC 8555 §8.3, RFC 8737, RFC 8555 §8.4. */
export type ChallengeKind = 'http-01' | 'tls-alpn-01' | 'dns-01';

/** One proof that is asked for. */
export interface Challenge {
  readonly kind: ChallengeKind;
  /** The name to be proved, lower case; of `*.example.com` it is `example.com`. */
  readonly name: string;
  /** Last segment of the path of `http-01`; base64url. */
  readonly token: string;
  /** The body that `http-01` wants; the others want its hash. */
  readonly keyAuthorization: string;
}

/**
 * Shows proofs of one kind. An order never tells the authority before `present` has resolved, and calls `remove`
 * whatever became of it.
 */
export interface ChallengeSolver {
  readonly kind: ChallengeKind;
  /** Whether it can show a proof for `name`; `wildcard` when the certificate is to cover `*.name`. */
  solves(name: string, wildcard: boolean): boolean;
  /** Resolves when whoever asks for it, anywhere, gets the proof. */
  present(challenge: Challenge, signal: AbortSignal): Promise<void>;
  /** Does not fail. */
  remove(challenge: Challenge): Promise<void>;
}

/** ALPN protocol of `tls-alpn-01`, the only one of its handshakes. */
export const ACME_TLS_PROTOCOL = 'acme-tls/1';

const PATH = '/.well-known/acme-challenge/';

/** The path of `http-01`. */
export function challengePath({ token }: Pick<Challenge, 'token'>): string {
  return PATH + token;
}

/** The token in the path of an `http-01` request; undefined when it is no such path. */
export function tokenOfPath(path: string): string | undefined {
  const token = path.startsWith(PATH) ? path.slice(PATH.length) : '';
  return /^[A-Za-z0-9_-]{1,256}$/.test(token) ? token : undefined;
}

/** The TXT record of `dns-01`. */
export function challengeRecord({ name, keyAuthorization }: Pick<Challenge, 'name' | 'keyAuthorization'>): {
  readonly name: string;
  readonly value: string;
} {
  return { name: `_acme-challenge.${name}`, value: digestOf(keyAuthorization).toString('base64url') };
}

/** A certificate with its key, both PEM. */
export interface ChallengeCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** id-pe-acmeIdentifier, RFC 8737 §6.1. */
const ACME_IDENTIFIER = '1.3.6.1.5.5.7.1.31';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 3_600_000;

/** The self-signed certificate that a handshake of `tls-alpn-01` is answered with. @param nowMs since the epoch */
export async function createChallengeCertificate(
  { name, keyAuthorization }: Pick<Challenge, 'name' | 'keyAuthorization'>,
  nowMs: number,
): Promise<ChallengeCertificate> {
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=ACME challenge',
    notBefore: new Date(nowMs - HOUR_MS),
    notAfter: new Date(nowMs + 24 * HOUR_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }]),
      // Critical; an OCTET STRING of the 32 bytes.
      new x509.Extension(ACME_IDENTIFIER, true, Uint8Array.of(0x04, 0x20, ...digestOf(keyAuthorization))),
    ],
  });
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { certificate: certificate.toString('pem'), key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY') };
}

function digestOf(keyAuthorization: string): Buffer {
  return createHash('sha256').update(keyAuthorization).digest();
}
