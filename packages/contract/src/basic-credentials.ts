/** What a client sends by HTTP Basic (RFC 7617), and how it is held against the hashes of `basic-users`. */
import { scrypt, timingSafeEqual } from 'node:crypto';
import type { ScryptHash } from './basic-users.ts';

export interface BasicCredentials {
  readonly user: string;
  readonly password: Uint8Array;
}

const MAX_HEADER_CHARS = 1_024;

/** User and password of an `Authorization` value (RFC 7617 §2), in UTF-8; undefined for any other. */
export function parseBasicCredentials(authorization: string | undefined): BasicCredentials | undefined {
  if (authorization === undefined || authorization.length > MAX_HEADER_CHARS) return undefined;
  const token = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization)?.[1];
  if (token === undefined) return undefined;
  const bytes = Buffer.from(token, 'base64');
  const colon = bytes.indexOf(':');
  if (colon < 1) return undefined;
  return { user: bytes.subarray(0, colon).toString('utf8'), password: bytes.subarray(colon + 1) };
}

/** Costly on purpose, in a thread of libuv: whoever calls it bounds how many run. */
export function isPassword(password: Uint8Array, { log2N, r, p, salt, hash }: ScryptHash): Promise<boolean> {
  const N = 2 ** log2N;
  return new Promise((resolve, reject) => {
    // Node counts a little more than 128 · N · r.
    scrypt(password, salt, hash.length, { N, r, p, maxmem: 256 * N * r }, (error, derived) => {
      if (error) reject(error);
      else resolve(timingSafeEqual(derived, hash));
    });
  });
}
