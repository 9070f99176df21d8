/** Invites and the tokens that carry them. A token is a secret: it never enters a log, an error or argv. */
import type { OwnerKey, Signer } from '@moat/core';
import type { Head, Token } from './schema.ts';

/** An invite's key: `key` goes into the contract, `signer` signs the claim of the machine that has the token. */
export interface InviteKey {
  readonly key: OwnerKey;
  readonly signer: Signer;
}

/**
 * The Ed25519 key pair of an invite.
 * @param seed 32 random bytes, the token's `seed`.
 * @throws `TOKEN_INVALID` unless the seed has 32 bytes.
 */
export function createInvite(seed: Uint8Array): InviteKey {
  throw new Error(String(seed.length));
}

/** `moat1.` and the base64url of the canonical token. */
export function encodeToken(token: Token): string {
  throw new Error(token.deployment);
}

/** @throws `TOKEN_INVALID`; the text is never part of the error. */
export function parseToken(text: string): Token {
  throw new Error(text);
}

/**
 * A machine with a token follows no head older than, or beside, the one the token was made for.
 * @throws `GENESIS_MISMATCH` for another deployment, `INVITE_UNKNOWN` for a lower version or another head
 * at that version.
 */
export function checkTokenHead(token: Token, head: Head): void {
  throw new Error(token.deployment + head.deployment);
}
