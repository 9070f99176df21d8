import { createHash } from 'node:crypto';
import { toBase64url, type Hash } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import type { Contract } from './schema.ts';

/** Contracts never change: what is read, hashed, stored and shown of one is written once, a millisecond for 500 members. */
const known = new WeakMap<Contract, Uint8Array>();

/** Canonical bytes of a contract; not to be written to. @throws `NOT_CANONICAL` */
export function contractBytes(contract: Contract): Uint8Array {
  let bytes = known.get(contract);
  if (bytes === undefined) known.set(contract, (bytes = canonicalBytes(contract)));
  return bytes;
}

/** What its head names as `contract`. @throws `NOT_CANONICAL` */
export function contractHash(contract: Contract): Hash {
  return toBase64url(createHash('sha256').update(contractBytes(contract)).digest());
}
