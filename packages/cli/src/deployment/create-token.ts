/** Tokens: the way to the keepers, and for an invite the seed that opens one place. */
import { createInvite, encodeToken, formatTime, headHash, type Head, type Invite, type Token } from '@moat/contract';
import { MoatError, toBase64url } from '@moat/core';
import type { OwnerKeyPair } from '@moat/identity';
import { randomBytes } from 'node:crypto';
import type { Context } from '../context.ts';
import { fileOf, nextVersion } from './next-version.ts';
import { lookAtDeployment, type SeenDeployment } from './select.ts';
import { submitVersion, type Submitted } from './submit.ts';

export interface CreatedToken {
  readonly member: string;
  /** A secret. */
  readonly token: string;
}

/** Tokens of one version. */
export interface CreatedTokens {
  readonly tokens: readonly CreatedToken[];
  readonly version: number;
  /** RFC 3339. */
  readonly expires: string;
  /** Waiting: the tokens work once the other owners have signed. */
  readonly submitted: Submitted;
}

/**
 * Opens the places `members` by one new version and returns a token for each, which are kept nowhere.
 * @throws `NO_KEEPER` and as {@link submitVersion}
 */
export async function createTokens(
  context: Context,
  owner: OwnerKeyPair,
  current: SeenDeployment,
  members: readonly string[],
  lifetimeMs: number,
): Promise<CreatedTokens> {
  const expires = formatTime(context.io.now() + lifetimeMs);
  const seeds = members.map((member) => ({ member, seed: randomBytes(32) }));
  const invites = new Map<string, Invite>(
    seeds.map(({ member, seed }) => [member, { key: createInvite(seed).key, expires }]),
  );
  requireKeeper(current);
  const { predecessor, contract } = nextVersion(context, fileOf(current), current, owner.key, { invites });
  const submitted = await submitVersion(context, [owner], predecessor, contract);
  const { detail, head } = await newestOf(context, submitted, contract.deployment);
  const locator = locatorOf({ detail, head });
  const tokens = seeds.map(({ member, seed }) => {
    const token = encodeToken({ ...locator, seed: toBase64url(seed), member });
    seed.fill(0);
    return { member, token };
  });
  return { tokens, version: contract.version, expires, submitted };
}

/** The head that opens the places: in force, or proposed. */
async function newestOf(
  context: Context,
  submitted: Submitted,
  deployment: string,
): Promise<Pick<SeenDeployment, 'detail'> & { readonly head: Head }> {
  const { detail, proof } = await lookAtDeployment(context, deployment);
  const head = submitted.state === 'accepted' ? proof.newest.head : submitted.waiting.proposal.head;
  return { detail, head };
}

/** Where the keepers are, and which head to expect at least. @throws `NO_KEEPER` */
export function locatorOf({ detail, head }: Pick<SeenDeployment, 'detail'> & { readonly head: Head }): Token {
  requireKeeper({ detail });
  return {
    deployment: head.deployment,
    version: head.version,
    head: headHash(head),
    keepers: detail.keepers,
    anchors: detail.anchors,
  };
}

function requireKeeper({ detail }: Pick<SeenDeployment, 'detail'>): void {
  if (detail.keepers.length > 0) return;
  throw new MoatError('NO_KEEPER', `${detail.name} has no pinned keeper with a known address`, {
    reason: 'a keeper witnesses who takes a place',
    next: ['mark a pinned member keeper: true, and moat apply'],
  });
}
