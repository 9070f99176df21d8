/**
 * The 32-byte seed of an Ed25519 key (RFC 8032 §5.1.5) to and from Node's KeyObject. Inside this package only:
 * a seed never leaves it except inside a key file or a libp2p key.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { fromBase64url } from '@moat/core';

/** DER prefix of an Ed25519 PrivateKeyInfo (RFC 8410 §7); the seed follows. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

export const SEED_BYTES = 32;

export function privateKeyFromSeed(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

/** The caller owns the copy and wipes it (`fill(0)`) when it is done. */
export function seedOf(privateKey: KeyObject): Uint8Array {
  const { d } = privateKey.export({ format: 'jwk' });
  return fromBase64url(d ?? '');
}
