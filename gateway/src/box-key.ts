/** The X25519 key to which writers of contracts box the secrets of edge rules; 0600 in the state directory. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, hkdfSync, type KeyObject } from 'node:crypto';
import { formatKey, isMoatError } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';

/** DER prefix of an X25519 SubjectPublicKeyInfo is 12 bytes (RFC 8410); the key follows. */
const SPKI_PREFIX_BYTES = 12;

export interface BoxKey {
  /** `x25519:…` */
  readonly publicKey: string;
  readonly privateKey: KeyObject;
  /** What marks of clients and sessions are made with, which whoever has the key can make. 32 bytes. */
  readonly edgeSecret: Uint8Array;
}

/** Reads the key at `path`, or makes it. @throws the codes of identity's private files */
export async function loadOrCreateBoxKey(path: string): Promise<BoxKey> {
  try {
    return boxKeyOf(createPrivateKey(await readPrivateFile(path)));
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
  }
  const { privateKey } = generateKeyPairSync('x25519');
  await writePrivateFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), { replace: false });
  return boxKeyOf(privateKey);
}

function boxKeyOf(privateKey: KeyObject): BoxKey {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  const edgeSecret = new Uint8Array(hkdfSync('sha256', der, '', 'moat/edge/1', 32));
  return { privateKey, edgeSecret, publicKey: formatKey('x25519', spki.subarray(SPKI_PREFIX_BYTES)) };
}
