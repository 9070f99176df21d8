/** The branches of a fork, as far as this machine knows them. */
import { z } from 'zod';
import { documentSchema, type Document } from './answer.ts';

/** One history that a quorum signed. */
export interface Branch {
  /** True for the one this machine holds. */
  readonly own: boolean;
  /** Hash of its newest head. */
  readonly head: string;
  readonly version: number;
  /** `HeadProof` of `@moat/contract`. */
  readonly proof: Document;
  /** `Contract` of `@moat/contract`; null while nobody has given it to this machine. */
  readonly contract: Document | null;
}
const branchSchema: z.ZodType<Branch> = z
  .object({
    own: z.boolean(),
    head: z.string(),
    version: z.number().int(),
    proof: documentSchema,
    contract: documentSchema.nullable(),
  })
  .meta({ id: 'Branch' });

/** All it takes to write the version that ends a fork; one branch where there is none. */
export interface Branches {
  /** The own one first. */
  readonly branches: readonly Branch[];
}
export const branchesSchema: z.ZodType<Branches> = z
  .object({ branches: z.array(branchSchema) })
  .meta({ id: 'Branches' });
