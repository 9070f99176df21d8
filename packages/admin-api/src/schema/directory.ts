/** Asking anchors who wishes to be found, and having them told of somebody. */
import { z } from 'zod';
import { documentSchema, noticeSchema, type Document, type Notice } from './answer.ts';

/** `POST /v1/directory/find`; what is absent, any. */
export interface FindRequest {
  readonly kind?: 'node' | 'person' | undefined;
  readonly role?: 'anchor' | 'gateway' | 'node' | 'relay' | undefined;
  readonly region?: string | undefined;
  readonly handle?: string | undefined;
}
export const findRequestSchema: z.ZodType<FindRequest> = z
  .object({
    kind: z.enum(['node', 'person']).optional(),
    role: z.enum(['anchor', 'gateway', 'node', 'relay']).optional(),
    region: z.string().max(63).optional(),
    handle: z.string().max(63).optional(),
  })
  .meta({ id: 'FindRequest' });

/** What one anchor said. */
export interface AskedAnchor {
  /** PeerId. */
  readonly anchor: string;
  readonly entries: number;
  readonly error: Notice | null;
}

export interface Found {
  /** Signed entries, the newest of each subject; verified here, and to be verified by whoever acts on them. */
  readonly entries: readonly Document[];
  readonly asked: readonly AskedAnchor[];
}
export const foundSchema: z.ZodType<Found> = z
  .object({
    entries: z.array(documentSchema),
    asked: z.array(z.object({ anchor: z.string(), entries: z.number().int(), error: noticeSchema.nullable() })),
  })
  .meta({ id: 'Found' });

/** `POST /v1/directory`. */
export interface AnnounceRequest {
  readonly signed: Document;
}
export const announceRequestSchema: z.ZodType<AnnounceRequest> = z
  .object({ signed: documentSchema })
  .meta({ id: 'AnnounceRequest' });

export interface ToldAnchor {
  /** PeerId. */
  readonly anchor: string;
  /** Null when it has the entry now. */
  readonly error: Notice | null;
}

export interface Announced {
  readonly told: readonly ToldAnchor[];
}
export const announcedSchema: z.ZodType<Announced> = z
  .object({ told: z.array(z.object({ anchor: z.string(), error: noticeSchema.nullable() })) })
  .meta({ id: 'Announced' });
