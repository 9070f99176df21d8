/** A node key in the form libp2p's host takes. */
import { createPrivateKey } from 'node:crypto';
import type { PrivateKey } from '@libp2p/interface';
import { seedOf } from './ed25519.ts';
import type { NodeKey } from './node-key.ts';

/** libp2p's private key of the same identity; its PeerId prints as `key.peerId`. */
export async function toLibp2pPrivateKey(key: NodeKey): Promise<PrivateKey> {
  // Loaded by who dials alone: it brings a hundred modules, and commands have keys too.
  const { privateKeyFromRaw } = await import('@libp2p/crypto/keys');
  const seed = seedOf(createPrivateKey({ key: Buffer.from(key.export()), format: 'pem' }));
  // libp2p's raw form is the seed followed by the public key.
  return privateKeyFromRaw(Buffer.concat([seed, key.signer.publicKey]));
}
