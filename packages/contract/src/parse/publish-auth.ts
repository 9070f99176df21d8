/** Edge rules whose secrets are boxed, in publish lines and in publications. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { PublishAuth } from '../schema.ts';
import { hash } from './fields.ts';

/** Ephemeral key, nonce, secret and tag in base64url. */
const MAX_BOX_CHARS = Math.ceil(((32 + 12 + CONTRACT_LIMITS.secretBytes + 16) * 4) / 3);

export const publishAuthSchema: z.ZodType<PublishAuth> = z.strictObject({
  basic: z.strictObject({
    box: z
      .string()
      .max(MAX_BOX_CHARS, { abort: true })
      .regex(/^[\w-]{80,}$/, 'a boxed secret is base64url'),
    digest: hash,
  }),
});
