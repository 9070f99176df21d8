/** Handing a gateway an invite code of its operator. */
import { z } from 'zod';

/** `POST /v1/gateway-codes`: nothing of it is kept here. */
export interface RedeemRequest {
  /** Id; the deployment need not exist yet. */
  readonly deployment: string;
  /** Multiaddrs with `/p2p/` of one gateway. */
  readonly addresses: readonly string[];
  /** A secret. */
  readonly code: string;
}
export const redeemRequestSchema: z.ZodType<RedeemRequest> = z
  .object({
    deployment: z.string(),
    addresses: z.array(z.string().max(500)).min(1).max(16),
    code: z.string().min(1).max(128),
  })
  .meta({ id: 'RedeemRequest' });
