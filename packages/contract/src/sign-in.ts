/** How the holder of a key signs in under a public name: by a signature over that name and what it asked. */
import { MoatError, formatKey, verifySignature, type OwnerKey, type Signer } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import type { SignedSignIn, SignIn } from './schema.ts';
import { keyOfOwner } from './signing-key.ts';

/** What a signature is held against. */
export interface SignInRules {
  /** The name under which it is shown. */
  readonly host: string;
  /** What that name asked. */
  readonly nonce: string;
  /** Who may come in. */
  readonly keys: readonly OwnerKey[];
}

/**
 * @param fields the name as it was reached, letter for letter: under another one the signature is worth nothing; `until`
 * where its members ask too.
 */
export function createSignIn({ host, nonce, until }: Omit<SignIn, 'type' | 'key'>, signer: Signer): SignedSignIn {
  const signIn: SignIn = {
    type: 'moat/sign-in/1',
    host,
    nonce,
    key: formatKey('ed25519', signer.publicKey),
    ...(until === undefined ? {} : { until }),
  };
  return { signIn, signature: signer.sign('moat/sign-in/1', canonicalBytes(signIn)) };
}

/**
 * @returns whose key it is.
 * @throws `SIGN_IN_INVALID` for another name or question, a key that may not come in, or a false signature; its message
 * is the same for all of them.
 */
export function verifySignIn({ signIn, signature }: SignedSignIn, { host, nonce, keys }: SignInRules): OwnerKey {
  const { key } = signIn;
  const isHere = signIn.host === host && signIn.nonce === nonce && keys.includes(key);
  if (!isHere || !verifySignature('moat/sign-in/1', canonicalBytes(signIn), signature, keyOfOwner(key))) {
    throw new MoatError('SIGN_IN_INVALID', `this key signs nobody in at ${host}`, { details: { host } });
  }
  return key;
}
