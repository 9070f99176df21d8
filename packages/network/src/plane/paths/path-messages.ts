/**
 * The messages of `/moat/path/1`, JSON. The side with the smaller PeerId leads: `offer` is answered by `answer` or
 * `refused`; then the leader says `try` for each pair of addresses, or `forward` for a member that passes packets on,
 * whoever hears the other there says `heard`, and the leader ends with `settle`. The other side asks it to begin by
 * `wake`. Whoever hears nothing any more says `check`; the other sends a packet, answers `checked`, and is told `lost`
 * when it did not arrive.
 */
import { isIP } from 'node:net';

import { MoatError, isDeploymentId, isPeerId, type DeploymentId, type PeerId } from '@moat/core';
import * as z from 'zod';

import { MAX_CANDIDATES, type Candidate } from './candidates.ts';
import type { NatKind } from './nat-kind.ts';

/** Served by members, to members that the contract pairs with them. */
export const PATH_PROTOCOL = '/moat/path/1';
/** Forwarders in one offer. */
export const MAX_FORWARDERS = 8;
/** Attempts in one exchange. */
export const MAX_ATTEMPTS = 16;

/** One side of a path as it tells the other. */
export interface OfferedEnd {
  readonly nat: NatKind;
  readonly candidates: readonly Candidate[];
  /** Members that it could use. */
  readonly forwarders: readonly PeerId[];
}

/** Addresses are numbers of candidates of the leader's own offer: no message names one that was not offered before. */
export type PathMessage =
  | ({ readonly type: 'offer'; readonly deployment: DeploymentId } & OfferedEnd)
  | ({ readonly type: 'answer' } & OfferedEnd)
  | { readonly type: 'refused'; readonly code: string }
  /** `to` is null when the follower waits; it moves `afterMs` milliseconds after it read this. */
  | { readonly type: 'try'; readonly attempt: number; readonly to: number | null; readonly afterMs: number }
  | { readonly type: 'forward'; readonly attempt: number; readonly by: PeerId }
  | { readonly type: 'heard'; readonly attempt: number }
  /** Null: packets go as they did before. */
  | { readonly type: 'settle'; readonly attempt: number | null }
  | { readonly type: 'wake'; readonly deployment: DeploymentId }
  | { readonly type: 'check'; readonly deployment: DeploymentId }
  | { readonly type: 'checked' }
  /** `quietMs`: how long nothing but keepalives had gone both ways before. */
  | { readonly type: 'lost'; readonly quietMs: number };

/** Messages that begin a stream. */
export type FirstPathMessage = Extract<PathMessage, { readonly deployment: DeploymentId }>;

const candidate = z.strictObject({
  kind: z.enum(['lan', 'ipv6', 'mapped', 'observed']),
  host: z
    .string()
    .max(45)
    .refine((host) => isIP(host) !== 0),
  port: z.int().min(1).max(65_535),
});
const peerId = z.string().max(64).refine(isPeerId);
const deployment = z.string().max(32).refine(isDeploymentId);
const attempt = z
  .int()
  .min(0)
  .max(MAX_ATTEMPTS - 1);
const end = {
  nat: z.enum(['none', 'eim', 'edm', 'unknown', 'blocked', 'unseen']),
  candidates: z.array(candidate).max(MAX_CANDIDATES),
  forwarders: z.array(peerId).max(MAX_FORWARDERS),
};
const messageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('offer'), deployment, ...end }),
  z.strictObject({ type: z.literal('answer'), ...end }),
  z.strictObject({ type: z.literal('refused'), code: z.string().regex(/^[A-Z][A-Z0-9_]{0,47}$/) }),
  z.strictObject({
    type: z.literal('try'),
    attempt,
    to: z
      .int()
      .min(0)
      .max(MAX_CANDIDATES - 1)
      .nullable(),
    afterMs: z.int().min(0).max(1_000),
  }),
  z.strictObject({ type: z.literal('forward'), attempt, by: peerId }),
  z.strictObject({ type: z.literal('heard'), attempt }),
  z.strictObject({ type: z.literal('settle'), attempt: attempt.nullable() }),
  z.strictObject({ type: z.literal('wake'), deployment }),
  z.strictObject({ type: z.literal('check'), deployment }),
  z.strictObject({ type: z.literal('checked') }),
  z.strictObject({ type: z.literal('lost'), quietMs: z.int().min(0).max(86_400_000) }),
]);

export function encodePathMessage(message: PathMessage): Uint8Array {
  return Buffer.from(JSON.stringify(message));
}

/** @throws `PATH_INVALID` for anything that is not one of the messages. */
export function decodePathMessage(message: Uint8Array): PathMessage {
  try {
    return messageSchema.parse(JSON.parse(Buffer.from(message).toString()));
  } catch (error) {
    throw new MoatError('PATH_INVALID', 'not a message of /moat/path/1', { cause: error });
  }
}
