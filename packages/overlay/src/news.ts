/** What travels about a deployment, unasked: its newest proof, or some witnessed claims. */
import type { DeploymentId } from '@moat/core';
import { parseHeadProof, parseMemberClaim, type HeadProof, type MemberClaim } from '@moat/contract';
import { z } from 'zod';
import { decodeJson, encodeJson, invalid, parsed } from './messages.ts';

/** Bytes of one piece of news: a proof with its successions, or some claims. */
export const MAX_NEWS_BYTES: number = 256 * 1024;
/** Claims in one piece of news. */
export const MAX_CLAIMS_IN_NEWS = 64;

const newsSchema = z.strictObject({
  deployment: z.string().regex(/^[a-z2-7]{26}$/),
  proof: z.unknown().optional(),
  claims: z.array(z.unknown()).max(MAX_CLAIMS_IN_NEWS),
});

/** Something about one deployment that its receiver may not know yet. */
export interface News {
  readonly deployment: DeploymentId;
  readonly proof?: HeadProof;
  readonly claims: readonly MemberClaim[];
}

export function encodeNews({ deployment, proof, claims }: News): Uint8Array {
  return encodeJson({ deployment, ...(proof === undefined ? {} : { proof }), claims });
}

/** @throws `MESSAGE_INVALID` */
export function decodeNews(bytes: Uint8Array, maxClaims: number = MAX_CLAIMS_IN_NEWS): News {
  const { deployment, proof, claims } = decodeJson(bytes, newsSchema);
  if (claims.length > maxClaims) throw invalid('more claims than belong here');
  return {
    deployment,
    ...(proof === undefined ? {} : { proof: parsed(parseHeadProof, proof) }),
    claims: claims.map((claim) => parsed(parseMemberClaim, claim)),
  };
}
