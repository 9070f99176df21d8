/**
 * The messages of `/moat/forward/1`, JSON. The first one on a stream says what it is for:
 * - `ask`: a member names a pair of which it is one. The answer has the UDP port that is this pair's at the forwarder, and
 *   a WireGuard public key that nobody holds and only these two know. Each time a handshake for that key arrived, the
 *   forwarder says from where. `leave` says that this side needs the session no more.
 * - `offer`: who sends this passes packets on for members of this deployment. No answer.
 * - `who`: the answer has the members of this deployment that offer it, as far as they are known here.
 */
import { isIP } from 'node:net';
import { MoatError, isDeploymentId, isPeerId, type DeploymentId, type Endpoint, type PeerId } from '@moat/core';
import * as z from 'zod';

/** Served by members whose operator offers it, to members of the same deployment. */
export const FORWARD_PROTOCOL = '/moat/forward/1';

/** Two members of a deployment; the one that asks is the other. */
export interface ForwardPair {
  readonly deployment: DeploymentId;
  readonly peer: PeerId;
}

/** What begins a stream. */
export type ForwardRequest =
  ({ readonly type: 'ask' } & ForwardPair) | { readonly type: 'offer' | 'who'; readonly deployment: DeploymentId };

export type ForwardRefusal = 'FORWARD_REFUSED' | 'FORWARD_BUSY';

export type ForwardAnswer =
  | { readonly type: 'session'; readonly port: number; readonly key: string }
  | { readonly type: 'learned'; readonly host: string; readonly port: number }
  | { readonly type: 'refused'; readonly code: ForwardRefusal };

/** Members in one answer. */
export const MAX_KNOWN = 16;

const port = z.int().min(1).max(65_535);
const deployment = z.string().max(32).refine(isDeploymentId);
const peerId = z.string().max(64).refine(isPeerId);
const requestSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ask'), deployment, peer: peerId }),
  z.strictObject({ type: z.enum(['offer', 'who']), deployment }),
]);
const knownSchema = z.strictObject({ type: z.literal('known'), peers: z.array(peerId).max(MAX_KNOWN) });
const leaveSchema = z.strictObject({ type: z.literal('leave') });
const answerSchema = z.discriminatedUnion('type', [
  /** The 43rd character has but four bits: each key has one spelling. */
  z.strictObject({ type: z.literal('session'), port, key: z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/) }),
  z.strictObject({
    type: z.literal('learned'),
    host: z
      .string()
      .max(45)
      .refine((host) => isIP(host) !== 0),
    port,
  }),
  z.strictObject({ type: z.literal('refused'), code: z.enum(['FORWARD_REFUSED', 'FORWARD_BUSY']) }),
]);

export type ForwardMessage =
  | ForwardRequest
  | ForwardAnswer
  | { readonly type: 'known'; readonly peers: readonly PeerId[] }
  | { readonly type: 'leave' };

export function encodeForward(message: ForwardMessage): Uint8Array {
  return Buffer.from(JSON.stringify(message));
}

/** @throws `FORWARD_INVALID` */
export function decodeForwardRequest(bytes: Uint8Array): ForwardRequest {
  return decode(bytes, requestSchema);
}

/** @throws `FORWARD_INVALID` */
export function decodeKnown(bytes: Uint8Array): readonly PeerId[] {
  return decode(bytes, knownSchema).peers;
}

/** @throws `FORWARD_INVALID` */
export function decodeLeave(bytes: Uint8Array): void {
  decode(bytes, leaveSchema);
}

/** @throws `FORWARD_INVALID` */
export function decodeForwardAnswer(bytes: Uint8Array): ForwardAnswer {
  return decode(bytes, answerSchema);
}

/** An address as it is written when it comes from a socket for both families, without a zone. */
export function plainEndpoint(host: string, port: number): Endpoint {
  return { host: host.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, ''), port };
}

function decode<T>(bytes: Uint8Array, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    throw invalid(cause);
  }
  const result = schema.safeParse(value);
  if (!result.success) throw invalid(result.error);
  return result.data;
}

function invalid(cause: unknown): MoatError<'FORWARD_INVALID'> {
  return new MoatError('FORWARD_INVALID', 'the other side sent no message about forwarding', { cause });
}
