/**
 * A node's identity: one Ed25519 key, made on the machine and kept in a PKCS#8 PEM file only its agent may read.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { MoatError, isMoatError, peerIdFromPublicKey, signerFromKey, type PeerId, type Signer } from '@moat/core';
import { readPrivateFile, writePrivateFile } from './private-file.ts';

/** A node's key pair. The private half is reached by {@link NodeKey.export} only, so logging a NodeKey leaks nothing. */
export interface NodeKey {
  readonly peerId: PeerId;
  readonly signer: Signer;
  /** PKCS#8 PEM with the private key, as the key file holds it; never log or send it. */
  export(): Uint8Array;
}

export function createNodeKey(): NodeKey {
  return nodeKeyOf(generateKeyPairSync('ed25519').privateKey);
}

/**
 * Reads what {@link NodeKey.export} wrote.
 * @throws `KEY_FILE_INVALID` for anything but an unencrypted PKCS#8 PEM of an Ed25519 key.
 */
export function parseNodeKey(pem: string | Uint8Array): NodeKey {
  let key: KeyObject;
  try {
    const text = typeof pem === 'string' ? pem : new TextDecoder('utf-8', { fatal: true }).decode(pem);
    key = createPrivateKey({ key: text, format: 'pem' });
  } catch {
    // OpenSSL's message is left out: it says nothing a person can act on.
    throw new MoatError('KEY_FILE_INVALID', 'not a node key: expected an unencrypted PKCS#8 PEM');
  }
  if (key.asymmetricKeyType !== 'ed25519') {
    throw new MoatError('KEY_FILE_INVALID', 'not a node key: the key is not Ed25519', {
      details: { type: key.asymmetricKeyType ?? 'unknown' },
    });
  }
  return nodeKeyOf(key);
}

/**
 * The node key at `path`, made and written (0600, durable before it is returned) when there is none.
 * Two processes that start at once end up with the same key.
 * @throws `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID`, `KEY_FILE_UNREADABLE`, `KEY_FILE_UNWRITABLE`
 */
export async function loadOrCreateNodeKey(path: string): Promise<NodeKey> {
  try {
    return parseNodeKey(await readPrivateFile(path));
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
  }
  const created = createNodeKey();
  try {
    await writePrivateFile(path, created.export(), { replace: false });
    return created;
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_EXISTS')) throw error;
    return parseNodeKey(await readPrivateFile(path));
  }
}

function nodeKeyOf(key: KeyObject): NodeKey {
  const signer = signerFromKey(key);
  return {
    peerId: peerIdFromPublicKey(signer.publicKey),
    signer,
    export: () => Buffer.from(key.export({ format: 'pem', type: 'pkcs8' })),
  };
}
