/**
 * The messages of `/moat/splice/1`, JSON: whoever asks an anchor for a pair gets two one-use ids, one for each socket
 * that the anchor shall join. An answer names a port and never a host: both sides know the anchor's address themselves.
 */
import { MoatError, toBase64url } from '@moat/core';
import * as z from 'zod';

import { base64urlBytes } from './messages.ts';
import { TICKET_ID_BYTES } from './ticket.ts';

/** Served by anchors, to anyone. */
export const SPLICE_PROTOCOL = '/moat/splice/1';

/** Two places at an anchor's link port. */
export interface SplicePair {
  readonly type: 'pair';
  /** One for each side; each is good for one socket. */
  readonly ids: readonly [Uint8Array, Uint8Array];
  readonly port: number;
  /** Milliseconds until the ids are forgotten. */
  readonly expires: number;
}

/** One message: `pair?` and `port?` are questions, the others are answers. */
export type SpliceMessage =
  | SplicePair
  | { readonly type: 'pair?' }
  | { readonly type: 'port?' }
  | { readonly type: 'port'; readonly port: number }
  | { readonly type: 'refused'; readonly code: string };

const port = z.int().min(1).max(65_535);
const id = base64urlBytes(TICKET_ID_BYTES);
const messageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('pair?') }),
  z.strictObject({ type: z.literal('port?') }),
  z.strictObject({ type: z.literal('port'), port }),
  z.strictObject({ type: z.literal('pair'), ids: z.tuple([id, id]), port, expires: z.int().min(1).max(60_000) }),
  z.strictObject({ type: z.literal('refused'), code: z.string().regex(/^[A-Z][A-Z0-9_]{0,47}$/) }),
]);

export function encodeSpliceMessage(message: SpliceMessage): Uint8Array {
  return Buffer.from(
    JSON.stringify(message.type === 'pair' ? { ...message, ids: message.ids.map(toBase64url) } : message),
  );
}

/** @throws `TICKET_INVALID` for anything that is not one of the messages. */
export function decodeSpliceMessage(message: Uint8Array): SpliceMessage {
  try {
    return messageSchema.parse(JSON.parse(Buffer.from(message).toString()));
  } catch {
    // Without the cause: it could quote an id.
    throw new MoatError('TICKET_INVALID', 'not a message of /moat/splice/1');
  }
}
