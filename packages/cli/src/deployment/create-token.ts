/** Tokens: the way to the keepers, and for an invite the seed that opens one place. */
import { createInvite, encodeToken, formatTime, headHash, type Token } from '@moat/contract';
import { MoatError, toBase64url } from '@moat/core';
import type { OwnerKeyPair } from '@moat/identity';
import { randomBytes } from 'node:crypto';
import type { Context } from '../context.ts';
import { fileOf, nextVersion } from './next-version.ts';
import { loadDeployment, type LoadedDeployment } from './select.ts';
import { submitVersion } from './submit.ts';

export interface CreatedToken {
  /** A secret. */
  readonly token: string;
  readonly version: number;
  /** RFC 3339. */
  readonly expires: string;
}

/**
 * Opens the place `member` by a new version and returns the token for it, which is kept nowhere.
 * @throws `NO_KEEPER` and as {@link submitVersion}
 */
export async function createToken(
  context: Context,
  owner: OwnerKeyPair,
  current: LoadedDeployment,
  member: string,
  lifetimeMs: number,
): Promise<CreatedToken> {
  const seed = randomBytes(32);
  const expires = formatTime(context.io.now() + lifetimeMs);
  const invites = new Map([[member, { key: createInvite(seed).key, expires }]]);
  const { predecessor, contract } = nextVersion(context, fileOf(current), current, owner.key, { invites });
  await submitVersion(context, owner, predecessor, contract);
  const after = await loadDeployment(context, contract.deployment);
  const token = encodeToken({ ...locatorOf(after), seed: toBase64url(seed), member });
  seed.fill(0);
  return { token, version: after.contract.version, expires };
}

/** Where the keepers are, and which head to expect at least. @throws `NO_KEEPER` */
export function locatorOf({ detail, proof }: LoadedDeployment): Token {
  const { head } = proof.newest;
  if (detail.keepers.length === 0) {
    throw new MoatError('NO_KEEPER', `${detail.name} has no pinned keeper with a known address`, {
      reason: 'a keeper witnesses who takes a place',
      next: ['mark a pinned member keeper: true, and moat apply'],
    });
  }
  return {
    deployment: head.deployment,
    version: head.version,
    head: headHash(head),
    keepers: detail.keepers,
    anchors: detail.anchors,
  };
}
