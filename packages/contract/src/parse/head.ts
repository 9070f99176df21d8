/** Genesis, heads and proofs. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Genesis, Head, HeadProof, OwnerSignature, SignedHead, Succession } from '../schema.ts';
import { deploymentId, hash, ownerKey, random16, signature, sortedSetOf, version } from './fields.ts';
import { ownerSetSchema } from './owners.ts';

export const genesisSchema: z.ZodType<Genesis> = z.strictObject({
  type: z.literal('moat/genesis/1'),
  owners: ownerSetSchema,
  nonce: random16,
});

const headSchema: z.ZodType<Head> = z
  .strictObject({
    type: z.literal('moat/head/1'),
    deployment: deploymentId,
    version,
    previous: hash.nullable(),
    contract: hash,
    owners: hash,
    publications: sortedSetOf(hash, CONTRACT_LIMITS.publications),
  })
  .refine((head) => (head.previous === null) === (head.version === 0), 'previous is null at version 0 and only there');

const signatures: z.ZodType<OwnerSignature[]> = z
  .array(z.strictObject({ key: ownerKey, signature }))
  .max(CONTRACT_LIMITS.signatures);

const successionSchema: z.ZodType<Succession> = z.strictObject({
  head: headSchema,
  signatures,
  owners: ownerSetSchema,
});

export const signedHeadSchema: z.ZodType<SignedHead> = z.strictObject({ head: headSchema, signatures });

export const headProofSchema: z.ZodType<HeadProof> = z.strictObject({
  genesis: genesisSchema,
  successions: z
    .array(successionSchema)
    .refine(isWithinLimits, 'more changes of owners, or signatures on them, than a proof holds'),
  newest: signedHeadSchema,
});

/** True when a proof may carry these successions. */
export function isWithinLimits(successions: readonly Succession[]): boolean {
  const count = successions.reduce((sum, succession) => sum + succession.signatures.length, 0);
  return successions.length <= CONTRACT_LIMITS.successions && count <= CONTRACT_LIMITS.proofSignatures;
}
