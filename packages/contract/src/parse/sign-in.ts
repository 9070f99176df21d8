/** A signature that signs in. */
import { z } from 'zod';
import type { SignedSignIn } from '../schema.ts';
import { hostName, ownerKey, signature, time } from './fields.ts';

export const signedSignInSchema: z.ZodType<SignedSignIn> = z.strictObject({
  signIn: z.strictObject({
    type: z.literal('moat/sign-in/1'),
    host: hostName,
    nonce: z.string().regex(/^[\w-]{16,128}$/, 'a nonce is base64url'),
    key: ownerKey,
    until: z.exactOptional(time),
  }),
  signature,
});
