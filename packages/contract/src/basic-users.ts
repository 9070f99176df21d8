/**
 * The users of a name behind HTTP Basic: lines of `user:$scrypt$ln=14,r=8,p=1$salt$hash`, the PHC form with base64
 * without padding. Writers check it before it is boxed, gateways after it is opened. Nothing of it is ever in an error.
 */
import { MoatError } from '@moat/core';

/** One user's password as scrypt left it (RFC 7914). */
export interface ScryptHash {
  /** Cost N = 2^log2N. */
  readonly log2N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

const MAX_USERS = 200;
const MIN_LOG2N = 12;
/** 128 · N · r bytes for each check: more would let anybody fill a gateway's memory. */
const MAX_MEMORY_BYTES = 32 * 1024 * 1024;
const LINE =
  /^([^\s:$][^:\p{Cc}]{0,127}):\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/u;

/**
 * Users by name. Empty lines and those that begin with `#` are passed over.
 * @throws `USERS_INVALID` with the number of the line, never its text
 */
export function parseBasicUsers(text: string): ReadonlyMap<string, ScryptHash> {
  const users = new Map<string, ScryptHash>();
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const [, user = '', log2N, r, p, salt = '', hash = ''] = LINE.exec(trimmed) ?? [];
    if (user === '') throw invalid(i, 'is not user:$scrypt$ln=14,r=8,p=1$salt$hash');
    if (users.has(user)) throw invalid(i, 'names a user twice');
    const cost = { log2N: Number(log2N), r: Number(r), p: Number(p) };
    const memory = 128 * 2 ** cost.log2N * cost.r;
    if (cost.log2N < MIN_LOG2N || cost.r < 1 || cost.p < 1 || cost.p > 4 || memory > MAX_MEMORY_BYTES) {
      throw invalid(i, 'has a cost outside of ln from 12 on, r and p from 1 on, at most 32 MiB a check');
    }
    users.set(user, { ...cost, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') });
    if (users.size > MAX_USERS) throw invalid(i, `is one user more than ${MAX_USERS}`);
  }
  if (users.size === 0) throw new MoatError('USERS_INVALID', 'the file names no user');
  return users;
}

/** A user's line. */
export function formatBasicUser(user: string, { log2N, r, p, salt, hash }: ScryptHash): string {
  const plain = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64').replaceAll('=', '');
  return `${user}:$scrypt$ln=${log2N},r=${r},p=${p}$${plain(salt)}$${plain(hash)}`;
}

function invalid(index: number, reason: string): MoatError<'USERS_INVALID'> {
  return new MoatError('USERS_INVALID', `line ${index + 1} ${reason}`, {
    next: ['make each line with: moat password USER'],
  });
}
