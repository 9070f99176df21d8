/**
 * Ed25519 with domain separation: what is signed is `domain || 0x00 || SHA-256(canonical bytes)`,
 * so a signature made for one kind of object never passes for another.
 * `domain` is the object's type tag, for example `moat/head/1`.
 */
import { createHash, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { fromBase64url, toBase64url } from './ids.ts';
import { Recent } from './recent.ts';

/** DER prefix of an Ed25519 SubjectPublicKeyInfo (RFC 8410); the 32-byte key follows. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** Something that signs with an Ed25519 key it does not give away. */
export interface Signer {
  /** Raw public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Signature over `domain || 0x00 || SHA-256(bytes)`, 86 characters of base64url. */
  sign(domain: string, bytes: Uint8Array): string;
}

/** A signer over a private key held in memory. */
export function signerFromKey(privateKey: KeyObject): Signer {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return {
    publicKey: spki.subarray(SPKI_PREFIX.length),
    sign: (domain, bytes) => toBase64url(sign(null, signedMessage(domain, bytes), privateKey)),
  };
}

/** True when `signature` (base64url) is `publicKey`'s for these bytes in this domain; never throws. */
export function verifySignature(domain: string, bytes: Uint8Array, signature: string, publicKey: Uint8Array): boolean {
  try {
    const raw = fromBase64url(signature);
    return raw.length === 64 && verify(null, signedMessage(domain, bytes), ed25519PublicKey(publicKey), raw);
  } catch {
    return false;
  }
}

/** By their bytes, a character each: to make one takes a third of a verification, and the same members sign again. */
const publicKeys = new Recent<KeyObject>(4_096);

function ed25519PublicKey(publicKey: Uint8Array): KeyObject {
  const name = Buffer.from(publicKey).toString('latin1');
  const known = publicKeys.get(name);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' });
  publicKeys.keep(name, key);
  return key;
}

function signedMessage(domain: string, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(domain), Buffer.of(0), createHash('sha256').update(bytes).digest()]);
}
