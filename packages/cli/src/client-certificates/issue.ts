/** One client's certificate and its key, which is made here and kept nowhere but in what is handed over. */
import 'reflect-metadata';
import { createHash, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { ClientAuthority } from './authority.ts';
import { BACKDATE_MS, DAY_MS, SIGNATURE, newSerial } from './form.ts';

export interface ClientCertificate {
  /** DER. */
  readonly certificate: Uint8Array;
  /** PKCS#8, DER. */
  readonly key: Uint8Array;
  /** Milliseconds since 1970; never after the authority's own end. */
  readonly untilMs: number;
  /** SHA-256 of the certificate, as services are told it. */
  readonly fingerprint: string;
}

export interface IssueOptions {
  /** The common name, which the service is told. */
  readonly name: string;
  readonly days: number;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/** ECDSA P-256, good for showing who a client is and for nothing else. */
export async function issueClientCertificate(
  authority: ClientAuthority,
  { name, days, nowMs }: IssueOptions,
): Promise<ClientCertificate> {
  const keys = await webcrypto.subtle.generateKey(SIGNATURE, true, ['sign', 'verify']);
  const untilMs = Math.min(nowMs + days * DAY_MS, authority.certificate.notAfter.getTime());
  const certificate = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    // As a value, so that no character of a name can begin another part of it.
    subject: new Name([{ CN: [{ utf8String: name }] }]),
    issuer: authority.certificate.subject,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(untilMs),
    publicKey: keys.publicKey,
    signingKey: authority.key,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
      await AuthorityKeyIdentifierExtension.create(authority.certificate),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const der = new Uint8Array(certificate.rawData);
  return {
    certificate: der,
    key: new Uint8Array(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)),
    untilMs,
    fingerprint: createHash('sha256').update(der).digest('hex'),
  };
}
