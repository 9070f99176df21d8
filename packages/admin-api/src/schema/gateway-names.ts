/** What the operator of a gateway does with names. */
import { z } from 'zod';

/** `POST /v1/names`: counts at once, and is kept. */
export interface ChangeNameRequest {
  /** A label below the gateway's domain, or a whole host name. */
  readonly name: string;
  /**
   * `allow`: the deployment may claim it, reserved or not. `transfer`: it holds it from now on, instead of whoever did.
   * `release`: nobody holds it.
   */
  readonly action: 'allow' | 'transfer' | 'release';
  /** Who it is for; not of `release`. */
  readonly deployment?: string | undefined;
}
export const changeNameRequestSchema: z.ZodType<ChangeNameRequest> = z
  .object({
    name: z.string().min(1).max(253),
    action: z.enum(['allow', 'transfer', 'release']),
    deployment: z.string().optional(),
  })
  .meta({ id: 'ChangeNameRequest' });

/** What became of it. */
export interface ChangedName {
  readonly host: string;
  /** Who holds it now; null = nobody. */
  readonly holder: string | null;
}
export const changedNameSchema: z.ZodType<ChangedName> = z
  .object({ host: z.string(), holder: z.string().nullable() })
  .meta({ id: 'ChangedName' });
