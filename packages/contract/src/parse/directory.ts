/** Entries of the public directory. What people will read is one line without control characters. */
import { z } from 'zod';
import type { SignedEntry } from '../directory-entry.ts';
import { isEntryText } from '../directory.ts';
import { directAddr, hostName, label, ownerKey, peerId, signature, sortedSetOf, time } from './fields.ts';

const type = z.literal('moat/directory/1');
const number = z.int().min(0);
const line = z.string().max(256, { abort: true }).refine(isEntryText, 'one line of text');
const key = { type, number, expires: time };

export const signedEntrySchema: z.ZodType<SignedEntry> = z.strictObject({
  entry: z.discriminatedUnion('kind', [
    z.strictObject({
      ...key,
      kind: z.literal('node'),
      node: peerId,
      roles: z
        .array(z.enum(['anchor', 'gateway', 'node', 'relay']))
        .min(1)
        .max(4)
        .refine((roles) => roles.every((role, i) => i === 0 || (roles[i - 1] ?? '') < role), 'not sorted'),
      domain: z.exactOptional(hostName),
      region: z.exactOptional(label),
      addresses: sortedSetOf(directAddr, 8),
      relayCapacity: z.exactOptional(z.int().min(0).max(1_000_000)),
      load: z.exactOptional(z.int().min(0).max(100)),
      terms: z.exactOptional(line),
      offeredTo: z.exactOptional(z.union([z.literal('anyone'), sortedSetOf(ownerKey, 64)])),
    }),
    z.strictObject({
      ...key,
      kind: z.literal('person'),
      handle: label,
      bot: z.exactOptional(z.literal(true)),
      root: ownerKey,
      rotations: z.array(z.strictObject({ to: ownerKey, before: signature, after: signature })).max(16),
      contact: z.exactOptional(line),
    }),
  ]),
  signature,
});
