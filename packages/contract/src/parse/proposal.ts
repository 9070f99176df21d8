/** Proposals, as keepers hold them and files carry them. */
import { z } from 'zod';
import type { Proposal } from '../schema.ts';
import { contractSchema } from './contract.ts';
import { headSchema, mergedSchema, signatures, signedHeadSchema } from './head.ts';

export const proposalSchema: z.ZodType<Proposal> = z
  .strictObject({
    type: z.literal('moat/proposal/1'),
    contract: contractSchema,
    head: headSchema,
    signatures,
    seal: z.exactOptional(signedHeadSchema),
    merged: z.exactOptional(mergedSchema),
  })
  .refine(
    ({ head, merged }) => (head.merges === undefined) === (merged === undefined),
    'the branch that ends is shown where the head names it, and only there',
  );
