/** How WireGuard packets to a member go now. */
import { z } from 'zod';

export interface PlanePath {
  /** `asleep`: nothing was sent lately; `riding`: inside a link; `forwarded`: over UDP by another member. */
  readonly path: 'asleep' | 'riding' | 'punching' | 'direct' | 'forwarded';
  /** Of the link, where packets ride one. */
  readonly over: 'direct' | 'spliced' | 'relayed' | null;
  /** The member that passes packets on, where one does. */
  readonly forwarder: string | null;
  /** Why it is not direct; null where it is. */
  readonly reason: { readonly code: string; readonly text: string } | null;
}
export const planePathSchema: z.ZodType<PlanePath> = z
  .object({
    path: z.enum(['asleep', 'riding', 'punching', 'direct', 'forwarded']),
    over: z.enum(['direct', 'spliced', 'relayed']).nullable(),
    forwarder: z.string().nullable(),
    reason: z.object({ code: z.string(), text: z.string() }).nullable(),
  })
  .meta({ id: 'PlanePath' });
