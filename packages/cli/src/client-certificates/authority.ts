/**
 * A publisher's own authority for client certificates: what `auth: { mtls: { ca } }` names. Its certificate (ECDSA P-256, ten
 * years) is public; its key is a 0600 file beside it that nothing but this command reads, and that is never sent anywhere.
 * It can vouch for clients alone: who trusts it for more by mistake trusts it for no server.
 */
import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import { MoatError, isMoatError } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { readTextFile } from '../input/files.ts';
import type { Io } from '../io.ts';
import { BACKDATE_MS, DAY_MS, SIGNATURE, newSerial } from './form.ts';

export interface ClientAuthority {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
  /** PEM file to be named in moat.yaml. */
  readonly file: string;
  readonly keyFile: string;
  /** There was none before. */
  readonly isNew: boolean;
}

const SUBJECT = 'CN=Moat client authority';
const AUTHORITY_DAYS = 3_650;

/**
 * The authority whose certificate is `file`, or a new one. A certificate that is gone is made anew for the key that is there:
 * what was issued stays good.
 * @throws `CLIENT_CA_INVALID`, `FILE_UNREADABLE`, `FILE_TOO_LARGE`, `KEY_FILE_MISSING`, `KEY_FILE_EXPOSED`,
 * `KEY_FILE_UNREADABLE`, `KEY_FILE_UNWRITABLE`
 */
export async function openClientAuthority(io: Io, file: string): Promise<ClientAuthority> {
  const nowMs = io.now();
  const keyFile = `${file.replace(/\.(pem|crt|cer)$/, '')}.key`;
  const certificate = await readCertificate(io, file);
  const keyPem = await readKey(keyFile);
  if (certificate === undefined) {
    const key = keyPem === undefined ? await makeKey(keyFile) : await importKey(keyPem, keyFile);
    const made = await signSelf(key, nowMs);
    // Public, but beside a key: it is written as whole, and as durably.
    await writePrivateFile(file, `${made.toString('pem').trimEnd()}\n`, { replace: false });
    return { certificate: made, key: key.privateKey, file, keyFile, isNew: keyPem === undefined };
  }
  if (keyPem === undefined) {
    throw new MoatError('KEY_FILE_MISSING', `the key of the authority ${file} is not here: there is no ${keyFile}`, {
      reason: 'it never leaves the machine that it was made on',
      next: ['issue there', `put the key at ${keyFile}, mode 0600`, 'or begin another authority with --ca FILE'],
    });
  }
  const { privateKey, publicKey } = await importKey(keyPem, keyFile);
  const own = Buffer.from(await webcrypto.subtle.exportKey('spki', publicKey));
  if (!own.equals(Buffer.from(certificate.publicKey.rawData))) throw unusable(file, `${keyFile} is another's key`);
  const { notAfter } = certificate;
  if (notAfter.getTime() <= nowMs) throw unusable(file, `it is over since ${notAfter.toISOString()}`);
  return { certificate, key: privateKey, file, keyFile, isNew: false };
}

async function readCertificate(io: Io, file: string): Promise<X509Certificate | undefined> {
  const pem = await readTextFile(io, file).catch((error: unknown) => {
    if (isMoatError(error, 'FILE_MISSING')) return undefined;
    throw error;
  });
  if (pem === undefined) return undefined;
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch (cause) {
    throw unusable(file, 'it is no certificate in PEM', cause);
  }
  if (certificate.getExtension(BasicConstraintsExtension)?.ca === true) return certificate;
  throw unusable(file, "it is nobody's authority");
}

async function readKey(file: string): Promise<string | undefined> {
  try {
    return await readPrivateFile(file);
  } catch (error) {
    if (isMoatError(error, 'KEY_FILE_MISSING')) return undefined;
    throw error;
  }
}

async function makeKey(file: string): Promise<webcrypto.CryptoKeyPair> {
  const pair = await webcrypto.subtle.generateKey(SIGNATURE, true, ['sign', 'verify']);
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', pair.privateKey);
  await writePrivateFile(file, `${PemConverter.encode(pkcs8, 'PRIVATE KEY').trimEnd()}\n`, { replace: false });
  return pair;
}

/** Also of a key that openssl made. */
async function importKey(pem: string, file: string): Promise<webcrypto.CryptoKeyPair> {
  try {
    const { d, ...open } = createPrivateKey(pem).export({ format: 'jwk' });
    const [privateKey, publicKey] = await Promise.all([
      webcrypto.subtle.importKey('jwk', { ...open, ...(d === undefined ? {} : { d }) }, SIGNATURE, true, ['sign']),
      webcrypto.subtle.importKey('jwk', open, SIGNATURE, true, ['verify']),
    ]);
    return { privateKey, publicKey };
  } catch (cause) {
    throw unusable(file, 'it is no plain key for ECDSA P-256 in PEM', cause);
  }
}

async function signSelf(keys: webcrypto.CryptoKeyPair, nowMs: number): Promise<X509Certificate> {
  return X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: SUBJECT,
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + AUTHORITY_DAYS * DAY_MS),
    keys,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
}

function unusable(file: string, reason: string, cause?: unknown): MoatError<'CLIENT_CA_INVALID'> {
  return new MoatError('CLIENT_CA_INVALID', `cannot issue with the authority ${file}`, {
    cause,
    reason,
    next: ['name another with --ca FILE; where there is none it is made'],
  });
}
