/** An owner's identity: the Ed25519 key of a person or bot who signs heads. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { MoatError, formatKey, signerFromKey, type OwnerKey, type Signer } from '@moat/core';
import { SEED_BYTES, privateKeyFromSeed, seedOf } from './ed25519.ts';

/** An owner's key pair. The private half is reached by {@link OwnerKeyPair.exportSeed} only. */
export interface OwnerKeyPair {
  readonly key: OwnerKey;
  readonly signer: Signer;
  /** A copy of the 32-byte private seed; wipe it (`fill(0)`) when done. Never log or send it. */
  exportSeed(): Uint8Array;
}

export function createOwnerKey(): OwnerKeyPair {
  return ownerKeyOf(generateKeyPairSync('ed25519').privateKey);
}

/**
 * The owner key grown from a seed: what a key file holds and what recovery words stand for.
 * @throws `KEY_FILE_INVALID` unless `seed` has 32 bytes.
 */
export function ownerKeyFromSeed(seed: Uint8Array): OwnerKeyPair {
  if (seed.length !== SEED_BYTES)
    throw new MoatError('KEY_FILE_INVALID', `an owner key's seed has ${SEED_BYTES} bytes`);
  return ownerKeyOf(privateKeyFromSeed(seed));
}

function ownerKeyOf(privateKey: KeyObject): OwnerKeyPair {
  const signer = signerFromKey(privateKey);
  return { key: formatKey('ed25519', signer.publicKey), signer, exportSeed: () => seedOf(privateKey) };
}
