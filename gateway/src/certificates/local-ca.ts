/**
 * A certificate authority of this machine, for `*.localhost` and test domains. The authority (ECDSA P-256, ten
 * years) is kept 0600 in the state directory and is constrained to the gateway's domain: who trusts it on their
 * machine trusts it for nothing else. Leaves are made per host name when asked for, live a week and are never
 * stored: browsers and OpenSSL refuse `*.localhost`.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, type Clock } from '@moat/core';
import { writePrivateFile } from '@moat/identity';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { refusal } from '../errors.ts';
import type { CertificatePair, CertificateSource } from './contexts.ts';

export interface LocalAuthorityDeps {
  readonly clock: Clock;
}

export interface LocalAuthorityOptions {
  /** Directory of `ca.pem` and `ca.key`. */
  readonly directory: string;
  /** Leaves are made for this name and one label below it. */
  readonly domain: string;
}

export interface LocalAuthority extends CertificateSource {
  /** The authority's certificate, PEM; what a client must trust. */
  readonly certificate: string;
  readonly certificatePath: string;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 24 * 3_600_000;
const AUTHORITY_DAYS = 3_650;
const AUTHORITY_RENEW_DAYS = 60;
const LEAF_DAYS = 7;
/** Clocks of clients may be behind. */
const BACKDATE_MS = 3_600_000;
const NAME_CONSTRAINTS = '2.5.29.30';

interface Authority {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

/**
 * Reads the authority from `directory`, or makes it: when there is none, it is nearly over, or it was made for
 * another domain.
 * @throws `CERTIFICATE_INVALID` when what is there cannot be read
 */
export async function openLocalAuthority(
  deps: LocalAuthorityDeps,
  options: LocalAuthorityOptions,
): Promise<LocalAuthority> {
  const certificatePath = join(options.directory, 'ca.pem');
  const keyPath = join(options.directory, 'ca.key');
  const now = deps.clock.now();
  let authority = await readAuthority(certificatePath, keyPath);
  const fresh =
    authority !== undefined &&
    authority.certificate.notAfter.getTime() - now > AUTHORITY_RENEW_DAYS * DAY_MS &&
    authority.certificate.subject === subjectFor(options.domain);
  if (!authority || !fresh) {
    authority = await createAuthority(options.domain, now);
    const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', authority.key);
    // The key first: a certificate without its key would be kept and never sign.
    await writePrivateFile(keyPath, PemConverter.encode(pkcs8, 'PRIVATE KEY'));
    await writePrivateFile(certificatePath, authority.certificate.toString('pem'));
  }
  const issuer = authority;
  const leafKeys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const leafKeyPem = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey), 'PRIVATE KEY');
  return {
    certificate: issuer.certificate.toString('pem'),
    certificatePath,
    async certificateFor(host: string): Promise<CertificatePair | undefined> {
      const issuedMs = deps.clock.now();
      const leaf = await createLeaf(issuer, leafKeys.publicKey, host, issuedMs);
      return { certificate: leaf, key: leafKeyPem, renewAtMs: issuedMs + (LEAF_DAYS * DAY_MS * 2) / 3 };
    },
  };
}

async function readAuthority(certificatePath: string, keyPath: string): Promise<Authority | undefined> {
  try {
    const certificate = new X509Certificate(await readFile(certificatePath, 'utf8'));
    const pkcs8 = PemConverter.decodeFirst(await readFile(keyPath, 'utf8'));
    const key = await webcrypto.subtle.importKey('pkcs8', pkcs8, ALGORITHM, true, ['sign']);
    return { certificate, key };
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw refusal('CERTIFICATE_INVALID', `cannot read the local authority ${certificatePath}`, { cause: error });
  }
}

async function createAuthority(domain: string, nowMs: number): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: subjectFor(domain),
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + AUTHORITY_DAYS * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new Extension(NAME_CONSTRAINTS, true, nameConstraints(domain)),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, key: keys.privateKey };
}

async function createLeaf(
  authority: Authority,
  publicKey: webcrypto.CryptoKey,
  host: string,
  nowMs: number,
): Promise<string> {
  const leaf = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: 'O=Moat gateway',
    issuer: authority.certificate.subject,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + LEAF_DAYS * DAY_MS),
    publicKey,
    signingKey: authority.key,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension([{ type: 'dns', value: host }]),
      await AuthorityKeyIdentifierExtension.create(authority.certificate),
    ],
  });
  return leaf.toString('pem');
}

function subjectFor(domain: string): string {
  return `CN=Moat local authority for ${domain}`;
}

/** 16 random bytes with the top bits 01: positive and never shortened. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

/** RFC 5280 §4.2.1.10: permittedSubtrees with one dNSName, which covers the name and everything below it. */
function nameConstraints(domain: string): Uint8Array<ArrayBuffer> {
  const name = Buffer.from(domain, 'ascii');
  return Uint8Array.from(der(0x30, der(0xa0, der(0x30, der(0x82, name)))));
}

function der(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...size), content]);
}
