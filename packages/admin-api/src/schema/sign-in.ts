/** A signature by which this machine signs in under a public name. */
import { z } from 'zod';
import { documentSchema, type Document } from './answer.ts';

/** What a name asked; the agent signs nothing else for whoever calls it. */
export interface SignInRequest {
  /** As the operator typed it, without a port. */
  readonly host: string;
  readonly nonce: string;
  /** A time until which the signature itself lets in, where members ask too. */
  readonly until?: string;
}
export const signInRequestSchema: z.ZodType<SignInRequest> = z
  .strictObject({
    host: z.string().min(1).max(253),
    nonce: z.string().regex(/^[\w-]{16,128}$/),
    until: z.exactOptional(z.iso.datetime()),
  })
  .meta({ id: 'SignInRequest' });

export interface SignInSigned {
  /** `SignedSignIn` of `@moat/contract`. */
  readonly signed: Document;
}
export const signInSignedSchema: z.ZodType<SignInSigned> = z
  .object({ signed: documentSchema })
  .meta({ id: 'SignInSigned' });
