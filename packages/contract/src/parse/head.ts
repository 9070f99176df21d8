/** Genesis, heads and proofs. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Genesis, Head, HeadProof, MergedBranch, OwnerSignature, SignedHead, Succession } from '../schema.ts';
import { deploymentId, hash, ownerKey, random16, signature, sortedSetOf, version } from './fields.ts';
import { ownerSetSchema } from './owners.ts';

const TOO_MANY = 'more changes of owners, or signatures on them, than a proof holds';

export const genesisSchema: z.ZodType<Genesis> = z.strictObject({
  type: z.literal('moat/genesis/1'),
  owners: ownerSetSchema,
  nonce: random16,
});

export const headSchema: z.ZodType<Head> = z
  .strictObject({
    type: z.literal('moat/head/1'),
    deployment: deploymentId,
    version,
    previous: hash.nullable(),
    merges: z.exactOptional(hash),
    contract: hash,
    owners: hash,
    publications: sortedSetOf(hash, CONTRACT_LIMITS.publications),
  })
  .refine((head) => (head.previous === null) === (head.version === 0), 'previous is null at version 0 and only there')
  .refine((head) => head.merges === undefined || head.version > 0, 'version 0 ends no fork');

export const signatures: z.ZodType<OwnerSignature[]> = z
  .array(z.strictObject({ key: ownerKey, signature }))
  .max(CONTRACT_LIMITS.signatures);

export const signedHeadSchema: z.ZodType<SignedHead> = z.strictObject({ head: headSchema, signatures });

/** @param depth how many merged branches may stand one in another. */
function successionsOf(depth: number): z.ZodType<Succession[]> {
  const shape = { head: headSchema, signatures, owners: ownerSetSchema };
  const succession: z.ZodType<Succession> =
    depth === 0
      ? z.strictObject(shape).refine(({ head }) => head.merges === undefined, 'merged branches stand too deep')
      : z
          .strictObject({ ...shape, merged: z.exactOptional(mergedOf(depth)) })
          .refine(
            ({ head, merged }) => (head.merges === undefined) === (merged === undefined),
            'the branch that ends is shown where the head names it, and only there',
          );
  return z.array(succession).max(CONTRACT_LIMITS.successions);
}

function mergedOf(depth: number): z.ZodType<MergedBranch> {
  return z.strictObject({
    shared: z.int().min(0).max(CONTRACT_LIMITS.successions),
    successions: successionsOf(depth - 1),
    newest: signedHeadSchema,
    previous: headSchema,
  });
}

/** Of a proposal: what no proof could hold is refused before a signature is verified. */
export const mergedSchema: z.ZodType<MergedBranch> = mergedOf(CONTRACT_LIMITS.mergeDepth).refine(
  ({ successions }) => isWithinLimits(successions),
  TOO_MANY,
);

export const headProofSchema: z.ZodType<HeadProof> = z.strictObject({
  genesis: genesisSchema,
  successions: successionsOf(CONTRACT_LIMITS.mergeDepth).refine(isWithinLimits, TOO_MANY),
  newest: signedHeadSchema,
});

/** True when a proof may carry these successions; those of merged branches count. */
export function isWithinLimits(successions: readonly Succession[]): boolean {
  const { count, signatures: signed, depth } = sizeOf(successions);
  return (
    count <= CONTRACT_LIMITS.successions &&
    signed <= CONTRACT_LIMITS.proofSignatures &&
    depth <= CONTRACT_LIMITS.mergeDepth
  );
}

/** How many signatures a proof carries, those of merged branches included; what it costs to verify goes with them. */
export function countSignatures({ successions, newest }: HeadProof): number {
  return sizeOf(successions).signatures + newest.signatures.length;
}

interface ProofSize {
  readonly count: number;
  readonly signatures: number;
  readonly depth: number;
}

function sizeOf(successions: readonly Succession[]): ProofSize {
  let [count, signed, depth] = [successions.length, 0, 0];
  for (const { signatures: own, merged } of successions) {
    signed += own.length;
    if (merged === undefined) continue;
    const inner = sizeOf(merged.successions);
    count += inner.count;
    signed += inner.signatures + merged.newest.signatures.length;
    depth = Math.max(depth, inner.depth + 1);
  }
  return { count, signatures: signed, depth };
}
