/** Invites and the tokens that carry them. A token is a secret: it never enters a log, an error or argv. */
import { createPrivateKey } from 'node:crypto';
import {
  MoatError,
  formatKey,
  fromBase64url,
  signerFromKey,
  toBase64url,
  type OwnerKey,
  type Signer,
} from '@moat/core';
import type { z } from 'zod';
import { canonicalBytes } from './canonical.ts';
import { headHash } from './head.ts';
import { tokenSchema } from './parse/token.ts';
import type { Head, Token } from './schema.ts';

/** DER prefix of an Ed25519 PKCS #8 private key (RFC 8410); the 32-byte seed follows. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const TOKEN_PREFIX = 'moat1.';
/** Addresses fill a token; 32 of them at their longest fit. */
const MAX_TOKEN_CHARS = 32_768;

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
  if (seed.length !== 32) throw invalid("an invite's seed has 32 bytes");
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
  const signer = signerFromKey(privateKey);
  return { key: formatKey('ed25519', signer.publicKey), signer };
}

/** `moat1.` and the base64url of the canonical token. */
export function encodeToken(token: Token): string {
  return TOKEN_PREFIX + toBase64url(canonicalBytes(token));
}

/**
 * Reads a token, with white space around it or none.
 * @throws `TOKEN_INVALID`; neither the text nor what made it fail is part of the error.
 */
export function parseToken(text: string): Token {
  const trimmed = text.length > MAX_TOKEN_CHARS ? '' : text.trim();
  if (/^moat[2-9]\./.test(trimmed)) throw invalid('it was made by a newer Moat');
  if (!trimmed.startsWith(TOKEN_PREFIX)) throw invalid('a token begins with moat1.');
  let value: unknown;
  try {
    const bytes = fromBase64url(trimmed.slice(TOKEN_PREFIX.length));
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // Without its cause: the parser's message would quote the seed.
    throw invalid('it was cut off or altered');
  }
  const result = judge(value);
  if (result?.success !== true) throw invalid('it lacks a part, or was made by a newer Moat');
  return result.data;
}

/** Undefined where the schema's own checks throw, as for an object whose `length` is an object. */
function judge(value: unknown): z.ZodSafeParseResult<Token> | undefined {
  try {
    return tokenSchema.safeParse(value);
  } catch {
    return undefined;
  }
}

/**
 * A machine with a token follows no head older than, or beside, the one the token was made for.
 * @throws `GENESIS_MISMATCH` for another deployment, `INVITE_UNKNOWN` for a lower version or another head
 * at that version.
 */
export function checkTokenHead(token: Token, head: Head): void {
  const details = { deployment: token.deployment, version: token.version, shown: head.version };
  if (head.deployment !== token.deployment) {
    throw new MoatError('GENESIS_MISMATCH', 'the token is for another deployment', { details });
  }
  if (head.version > token.version) return;
  if (head.version === token.version && headHash(head) === token.head) return;
  throw new MoatError('INVITE_UNKNOWN', `the version the token was made for is not known here yet`, {
    details,
    retryable: true,
  });
}

function invalid(reason: string): MoatError<'TOKEN_INVALID'> {
  return new MoatError('TOKEN_INVALID', 'this is no join token', { reason });
}
