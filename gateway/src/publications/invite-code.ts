/** What an operator hands to somebody who is to publish: 32 random bytes, of which only a hash is kept. */
import { createHash, randomBytes } from 'node:crypto';
import { fromBase64url, toBase64url, type Hash } from '@moat/core';

const PREFIX = 'moatcode-';
const CODE_BYTES = 32;

/** `moatcode-` and 43 characters. */
export function createInviteCode(): string {
  return PREFIX + toBase64url(randomBytes(CODE_BYTES));
}

/** By which a code is known; undefined for text that is no code. */
export function hashOfInviteCode(code: string): Hash | undefined {
  if (!code.startsWith(PREFIX)) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = fromBase64url(code.slice(PREFIX.length));
  } catch {
    return undefined;
  }
  if (bytes.length !== CODE_BYTES) return undefined;
  return toBase64url(
    createHash('sha256').update('moat/gateway-code/1').update(Uint8Array.of(0)).update(bytes).digest(),
  );
}

/** Of a code's hash, enough to tell codes apart. */
const ID_CHARS = 8;

/** What a code is called where others read it. */
export function inviteId(hash: string): string {
  return hash.slice(0, ID_CHARS);
}
