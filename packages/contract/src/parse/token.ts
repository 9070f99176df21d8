/** What a token says. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Token } from '../schema.ts';
import { deploymentId, directAddr, hash, label, multiaddr, seed, setOf, version } from './fields.ts';

export const tokenSchema: z.ZodType<Token> = z.strictObject({
  deployment: deploymentId,
  version,
  head: hash,
  keepers: setOf(multiaddr, CONTRACT_LIMITS.peers),
  anchors: setOf(directAddr, CONTRACT_LIMITS.anchors),
  seed: z.exactOptional(seed),
  member: z.exactOptional(label),
});
