/** A new key for a machine. */
import { z } from 'zod';

/** The next key waits until the owners name it wherever the one in use has a place. */
export interface Rotation {
  /** PeerId in use. */
  readonly current: string;
  /** PeerId to come. */
  readonly next: string;
  /** Where the owners have to name it. */
  readonly places: readonly { readonly deployment: string; readonly name: string; readonly member: string }[];
}
export const rotationSchema: z.ZodType<Rotation> = z
  .object({
    current: z.string(),
    next: z.string(),
    places: z.array(z.object({ deployment: z.string(), name: z.string(), member: z.string() })),
  })
  .meta({ id: 'Rotation' });
