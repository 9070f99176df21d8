/**
 * The messages of `/moat/psk/1`, JSON. The smaller PeerId begins: `begin`, `reply`, `commit` (it has the key), `installed`
 * (the responder uses it from the next handshake on), `done` (so does the initiator). A responder that has none says `want`.
 */
import { MoatError, fromBase64url, isDeploymentId, toBase64url, type DeploymentId } from '@moat/core';
import * as z from 'zod';

import {
  CONFIRMATION_BYTES,
  ID_BYTES,
  MLKEM_CIPHERTEXT_BYTES,
  MLKEM_PUBLIC_BYTES,
  X25519_BYTES,
} from './psk-agreement.ts';

/** Served by members, to members that the contract pairs with them. */
export const PSK_PROTOCOL = '/moat/psk/1';

export type PskMessage =
  | {
      readonly type: 'begin';
      readonly deployment: DeploymentId;
      readonly epoch: number;
      /** Names the key that the initiator has now. */
      readonly holds: Uint8Array | null;
      readonly x25519: Uint8Array;
      readonly mlkem: Uint8Array;
    }
  | { readonly type: 'reply'; readonly x25519: Uint8Array; readonly ciphertext: Uint8Array; readonly proof: Uint8Array }
  | { readonly type: 'want'; readonly deployment: DeploymentId }
  | { readonly type: 'commit'; readonly proof: Uint8Array }
  | { readonly type: 'installed' }
  | { readonly type: 'done' };

/** Messages that begin a stream. */
export type FirstPskMessage = Extract<PskMessage, { readonly deployment: DeploymentId }>;

/** What the initiator begins with. */
export type BeginPskMessage = Extract<PskMessage, { readonly type: 'begin' }>;

const bytes = (length: number): z.ZodType<Uint8Array> =>
  z
    .string()
    .max(Math.ceil((length * 4) / 3))
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

const deployment = z.string().max(32).refine(isDeploymentId);
const messageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('want'), deployment }),
  z.strictObject({
    type: z.literal('begin'),
    deployment,
    epoch: z.int().min(0),
    holds: bytes(ID_BYTES).nullable(),
    x25519: bytes(X25519_BYTES),
    mlkem: bytes(MLKEM_PUBLIC_BYTES),
  }),
  z.strictObject({
    type: z.literal('reply'),
    x25519: bytes(X25519_BYTES),
    ciphertext: bytes(MLKEM_CIPHERTEXT_BYTES),
    proof: bytes(CONFIRMATION_BYTES),
  }),
  z.strictObject({ type: z.literal('commit'), proof: bytes(CONFIRMATION_BYTES) }),
  z.strictObject({ type: z.literal('installed') }),
  z.strictObject({ type: z.literal('done') }),
]);

export function encodePskMessage(message: PskMessage): Uint8Array {
  const plain = Object.fromEntries(
    Object.entries(message).map(([name, value]) => [name, value instanceof Uint8Array ? toBase64url(value) : value]),
  );
  return Buffer.from(JSON.stringify(plain));
}

/** @throws `PSK_INVALID` for anything that is not one of the messages. */
export function decodePskMessage(message: Uint8Array): PskMessage {
  try {
    return messageSchema.parse(JSON.parse(Buffer.from(message).toString()));
  } catch {
    // Without the cause: it could quote a proof.
    throw new MoatError('PSK_INVALID', 'not a message of /moat/psk/1');
  }
}
