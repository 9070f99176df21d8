/**
 * Secrets that edge rules need, boxed by the writer to one gateway: an ephemeral X25519 key, HKDF-SHA256 and
 * AES-256-GCM, with deployment and public name as associated data. So a box cannot be opened by members, nor
 * moved to another name or deployment.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { MoatError, fromBase64url, parseKey, toBase64url, type DeploymentId, type Hash } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { CONTRACT_LIMITS } from './limits.ts';
import type { BoxedSecret } from './schema.ts';

/** DER prefixes of X25519 keys (RFC 8410); the 32-byte key follows. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

const DOMAIN = 'moat/box/1';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';

/** What a box is bound to. */
export interface BoxContext {
  readonly deployment: DeploymentId;
  /** The public name, as in the publish line. */
  readonly name: string;
  /** Of the publish line, base64url. */
  readonly salt: string;
}

/** SHA-256(salt || secret): tells whether a secret changed, to whoever knows it already. */
export function secretDigest(secret: Uint8Array, salt: string): Hash {
  return toBase64url(createHash('sha256').update(fromBase64url(salt)).update(secret).digest());
}

/**
 * @param secret at most 16 KiB.
 * @param target the gateway's `box` key (`x25519:…`) and what the box is bound to.
 * @param random unpredictable bytes: an ephemeral key and a nonce are made of them.
 * @throws `CONTRACT_INVALID` for a larger secret or a weak key, `ID_INVALID` for a malformed one
 */
export function boxSecret(
  secret: Uint8Array,
  target: BoxContext & { readonly box: string },
  random: (bytes: number) => Uint8Array = randomBytes,
): BoxedSecret {
  if (secret.length > CONTRACT_LIMITS.secretBytes) {
    throw new MoatError('CONTRACT_INVALID', `the secret of ${target.name} is larger than 16 KiB`);
  }
  const recipient = parseKey('x25519', target.box);
  const ephemeral = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, random(KEY_BYTES)]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = rawPublicKey(ephemeral);
  const nonce = Uint8Array.from(random(NONCE_BYTES));
  let key: Uint8Array;
  try {
    key = keyOf(ephemeral, recipient, publicKey, recipient);
  } catch (cause) {
    // A point of small order gives everybody the same shared secret; OpenSSL refuses it (RFC 7748 §6.1).
    throw new MoatError('CONTRACT_INVALID', `the box key of the gateway of ${target.name} is none`, { cause });
  }
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(associated(target));
  const sealed = [cipher.update(secret), cipher.final(), cipher.getAuthTag()];
  return {
    box: toBase64url(Buffer.concat([publicKey, nonce, ...sealed])),
    digest: secretDigest(secret, target.salt),
  };
}

/**
 * Opens a box with the gateway's X25519 private key.
 * @throws `SECRET_UNREADABLE` for a box made for another gateway, deployment or name, altered, or of another
 * secret than its digest says; nothing of the secret is part of the error.
 */
export function openSecret(boxed: BoxedSecret, privateKey: KeyObject, context: BoxContext): Uint8Array {
  try {
    const bytes = fromBase64url(boxed.box);
    const publicKey = bytes.subarray(0, KEY_BYTES);
    const nonce = bytes.subarray(KEY_BYTES, KEY_BYTES + NONCE_BYTES);
    const end = bytes.length - TAG_BYTES;
    const key = keyOf(privateKey, publicKey, publicKey, rawPublicKey(privateKey));
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(associated(context));
    decipher.setAuthTag(bytes.subarray(end));
    const text = decipher.update(bytes.subarray(KEY_BYTES + NONCE_BYTES, end));
    const secret = Buffer.concat([text, decipher.final()]);
    if (secretDigest(secret, context.salt) === boxed.digest) return secret;
  } catch {
    // OpenSSL's reasons would tell a prober apart what it may not know; the code below says enough.
  }
  throw new MoatError('SECRET_UNREADABLE', `the secret of ${context.name} was not boxed for this gateway`, {
    details: { deployment: context.deployment, name: context.name },
  });
}

/** HKDF over the shared secret; both public keys are bound in. */
function keyOf(own: KeyObject, other: Uint8Array, ephemeral: Uint8Array, recipient: Uint8Array): Uint8Array {
  const publicKey = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, other]), format: 'der', type: 'spki' });
  const shared = diffieHellman({ privateKey: own, publicKey });
  return Buffer.from(hkdfSync('sha256', shared, Buffer.concat([ephemeral, recipient]), DOMAIN, KEY_BYTES));
}

function rawPublicKey(privateKey: KeyObject): Uint8Array {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).subarray(SPKI_PREFIX.length);
}

function associated({ deployment, name }: BoxContext): Uint8Array {
  return canonicalBytes({ type: DOMAIN, deployment, name });
}
