/** The key of a certificate and the request for it: ECDSA P-256, names in subjectAltName only. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import { loadX509 } from './x509.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** A fresh key, PEM of PKCS#8; also for accounts. */
export function createKey(): string {
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  return privateKey;
}

/** The request for `names`, PEM. @param key PEM of PKCS#8 */
export async function createCertificateRequest(names: readonly string[], key: string): Promise<string> {
  const x509 = await loadX509();
  const { subtle } = webcrypto;
  const own = createPrivateKey(key);
  const pkcs8 = own.export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(own).export({ type: 'spki', format: 'der' });
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: {
      privateKey: await subtle.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']),
      publicKey: await subtle.importKey('spki', spki, ALGORITHM, true, ['verify']),
    },
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value })))],
  });
  return request.toString('pem');
}
