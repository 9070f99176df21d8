/** Publications and the bundles that show them. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Publication, PublicationBundle } from '../schema.ts';
import { witnessedClaimSchema } from './claim.ts';
import {
  deploymentId,
  heir,
  hostName,
  isAscending,
  label,
  ownerKey,
  peerId,
  port,
  random16,
  sortedSetOf,
  time,
} from './fields.ts';
import { headProofSchema } from './head.ts';
import { publishAuthSchema } from './publish-auth.ts';
import { publishRulesSchema } from './publish-rules.ts';

const ends = z.exactOptional(time);

const members = z
  .array(z.union([z.strictObject({ node: peerId, ends }), z.strictObject({ invite: ownerKey, expires: time, ends })]))
  .max(CONTRACT_LIMITS.members);
const kind = z.enum(['tcp', 'http']);

const publicationSchema: z.ZodType<Publication> = z.strictObject({
  type: z.literal('moat/publication/1'),
  deployment: deploymentId,
  salt: random16,
  gateways: sortedSetOf(peerId, CONTRACT_LIMITS.peers),
  name: hostName,
  service: label,
  kind,
  tls: z.enum(['terminate', 'passthrough']),
  port: z.exactOptional(port),
  transfer: z.exactOptional(heir),
  members,
  auth: z.exactOptional(publishAuthSchema),
  rules: z.exactOptional(publishRulesSchema),
  others: z.exactOptional(
    z
      .array(z.strictObject({ service: label, kind, members }))
      .min(1)
      .max(CONTRACT_LIMITS.paths + CONTRACT_LIMITS.splits)
      .refine(
        (others) => isAscending(others.map(({ service }) => service)),
        'not sorted, or a service is listed twice',
      ),
  ),
  witnesses: sortedSetOf(peerId, CONTRACT_LIMITS.keepers),
});

export const publicationBundleSchema: z.ZodType<PublicationBundle> = z.strictObject({
  proof: headProofSchema,
  publications: z.array(publicationSchema).max(CONTRACT_LIMITS.publications),
  claims: z.array(witnessedClaimSchema).max(CONTRACT_LIMITS.claims),
});
