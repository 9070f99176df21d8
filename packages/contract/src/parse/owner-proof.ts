/** An owner's proof for one connection. */
import { z } from 'zod';
import type { SignedOwnerProof } from '../schema.ts';
import { deploymentId, ownerKey, peerId, signature, time } from './fields.ts';

export const signedOwnerProofSchema: z.ZodType<SignedOwnerProof> = z.strictObject({
  proof: z.strictObject({
    type: z.literal('moat/owner/1'),
    deployment: deploymentId,
    owner: ownerKey,
    dialer: peerId,
    keeper: peerId,
    time,
  }),
  signature,
});
