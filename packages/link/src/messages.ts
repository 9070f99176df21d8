/**
 * The messages of `/moat/link/1`, JSON. The dialer of the connection sends `ask` and gets `offer` or `refused`; the side
 * that accepted the connection may send `offer` unasked and gets `taken` or `refused`. An offer never names a host.
 * Where no socket stands the dialer sends `splice`: the anchor and the id with which the acceptor shall come there; the
 * answer is an `offer` of one ticket for what the anchor joins.
 */
import { MoatError, fromBase64url, isPeerId, toBase64url, type PeerId } from '@moat/core';
import * as z from 'zod';

import { TICKET_ID_BYTES, TICKET_SECRET_BYTES, type LinkKind, type Ticket } from './ticket.ts';

export const LINK_PROTOCOL = '/moat/link/1';
/** Frames over the control connection itself, where no socket stands. */
export const LINK_STREAM_PROTOCOL = '/moat/link-stream/1';
/** Tickets in one offer: a gateway sends one for each worker. */
export const MAX_TICKETS = 16;

/** What dialing a link takes. */
export interface Offer {
  readonly type: 'offer';
  /** One link each; empty when the acceptor has no port. */
  readonly tickets: readonly Ticket[];
  /** At the address the connection runs to; null when the acceptor listens nowhere. */
  readonly port: number | null;
  readonly kind: LinkKind;
  /** Milliseconds the tickets last. */
  readonly expires: number;
  /** The offering side's link to us has no path any more. */
  readonly lost?: boolean | undefined;
}

/** One message. */
export type LinkMessage =
  | Offer
  | { readonly type: 'ask' }
  | { readonly type: 'taken' }
  | { readonly type: 'refused'; readonly code: string }
  | { readonly type: 'splice'; readonly anchor: PeerId; readonly id: Uint8Array };

/** `length` bytes as base64url. */
export const base64urlBytes = (length: number): z.ZodType<Uint8Array> =>
  z
    .string()
    .max(64)
    .transform((text, context) => {
      try {
        const decoded = fromBase64url(text);
        if (decoded.length === length) return decoded;
      } catch {
        // said below
      }
      context.addIssue({ code: 'custom', message: `not ${length} bytes of base64url` });
      return z.NEVER;
    });

const messageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ask') }),
  z.strictObject({ type: z.literal('taken') }),
  z.strictObject({ type: z.literal('refused'), code: z.string().regex(/^[A-Z][A-Z0-9_]{0,47}$/) }),
  z.strictObject({
    type: z.literal('splice'),
    anchor: z.string().refine(isPeerId),
    id: base64urlBytes(TICKET_ID_BYTES),
  }),
  z.strictObject({
    type: z.literal('offer'),
    tickets: z
      .array(z.strictObject({ id: base64urlBytes(TICKET_ID_BYTES), secret: base64urlBytes(TICKET_SECRET_BYTES) }))
      .max(MAX_TICKETS),
    port: z.int().min(1).max(65_535).nullable(),
    kind: z.enum(['member', 'gateway']),
    expires: z.int().min(1).max(60_000),
    lost: z.boolean().optional(),
  }),
]);

export function encodeMessage(message: LinkMessage): Uint8Array {
  return Buffer.from(JSON.stringify(plainOf(message)));
}

function plainOf(message: LinkMessage): object {
  if (message.type === 'splice') return { ...message, id: toBase64url(message.id) };
  if (message.type !== 'offer') return message;
  const tickets = message.tickets.map(({ id, secret }) => ({ id: toBase64url(id), secret: toBase64url(secret) }));
  return { ...message, tickets };
}

/** @throws `TICKET_INVALID` for anything that is not one of the messages. */
export function decodeMessage(message: Uint8Array): LinkMessage {
  try {
    return messageSchema.parse(JSON.parse(Buffer.from(message).toString()));
  } catch {
    // Without the cause: it could quote a secret.
    throw new MoatError('TICKET_INVALID', 'not a message of /moat/link/1');
  }
}
