/** Owner sets: with names in contracts, without in genesis and successions. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { OwnerSet, Owners } from '../schema.ts';
import { isAscending, label, ownerKey } from './fields.ts';

const weight = z.int().min(1).max(CONTRACT_LIMITS.weight);
const threshold = z
  .int()
  .min(1)
  .max(CONTRACT_LIMITS.weight * CONTRACT_LIMITS.owners);

/** Sorted by key, so that one set has one hash; its threshold can be reached. */
export const ownerSetSchema: z.ZodType<OwnerSet> = z
  .strictObject({
    threshold,
    keys: z
      .array(z.strictObject({ key: ownerKey, weight }))
      .min(1)
      .max(CONTRACT_LIMITS.owners)
      .refine((keys) => isAscending(keys.map(({ key }) => key)), 'keys are sorted, each once'),
  })
  .refine(isReachable, 'all weights together do not reach the threshold');

/** In the order of the file; uniqueness and reach are `checkContract`'s. */
export const ownersSchema: z.ZodType<Owners> = z.strictObject({
  threshold,
  keys: z
    .array(z.strictObject({ name: label, key: ownerKey, weight }))
    .min(1)
    .max(CONTRACT_LIMITS.owners),
});

/** True when everybody's signature together is enough. */
export function isReachable({ threshold: needed, keys }: OwnerSet): boolean {
  return keys.reduce((sum, key) => sum + key.weight, 0) >= needed;
}
