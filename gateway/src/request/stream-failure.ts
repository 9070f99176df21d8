/** Why a stream ended before its answer, in the words a client may be told. */
import type { MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';

/** The member's own rules said no. */
const REFUSED =
  /^(?:GRANT_|MEMBER_|SERVICE_UNKNOWN|NOT_EXPOSED|NOT_PUBLISHED|KIND_MISMATCH|PUBLICATION_|DEPLOYMENT_|NETWORK_STOPPED|STALE)/;

const MESSAGES: ReadonlyMap<string, readonly [GatewayErrorCode, string]> = new Map(
  Object.entries({
    SERVICE_UNREACHABLE: ['SERVICE_UNREACHABLE', 'the service behind this name is not reachable on its machine'],
    SERVICE_RESET: ['SERVICE_UNREACHABLE', 'the service behind this name broke off before it answered'],
    SERVICE_PROTOCOL: ['ANSWER_INVALID', 'the service behind this name did not answer in HTTP'],
    SERVICE_TIMEOUT: ['ANSWER_TIMEOUT', 'the service behind this name did not answer in time'],
    PUBLIC_AUTH: ['AUTH_REQUIRED', 'the machine behind this name does not know who comes in; sign in anew'],
    PUBLIC_RATE: ['RATE_LIMITED', 'too many requests for this name'],
    PUBLIC_BUSY: ['NAME_BUSY', 'this name has too much to do'],
    SERVICE_BUSY: ['GATEWAY_BUSY', 'the machine behind this name has too much to do'],
    STREAM_LIMIT: ['GATEWAY_BUSY', 'the machine behind this name has too much to do'],
    OPEN_RATE: ['GATEWAY_BUSY', 'the machine behind this name has too much to do'],
    REQUEST_INVALID: ['REQUEST_MALFORMED', 'the request cannot be passed on without ambiguity'],
    HEAD_INVALID: ['REQUEST_MALFORMED', 'the request cannot be passed on without ambiguity'],
    HEAD_TOO_LARGE: ['HEAD_TOO_LARGE', 'the head of the request is too large'],
    ANSWER_INVALID: ['ANSWER_INVALID', 'the service behind this name did not answer in HTTP'],
  } satisfies Record<string, readonly [GatewayErrorCode, string]>),
);

/** Failures that another try meets again. */
const FINAL: ReadonlySet<GatewayErrorCode> = new Set([
  'REQUEST_MALFORMED',
  'HEAD_TOO_LARGE',
  'ANSWER_INVALID',
  'AUTH_REQUIRED',
]);

/** A member that keeps its publisher's rules is well. */
const KEPT: ReadonlySet<GatewayErrorCode> = new Set(['RATE_LIMITED', 'NAME_BUSY', 'AUTH_REQUIRED']);

/** True when the member did what it should: nothing that another one would do better. */
export function isByRule(error: MoatError<GatewayErrorCode>): boolean {
  return KEPT.has(error.code);
}

/** True when the member's own rules said no. */
export function letsNobodyIn(error: MoatError<GatewayErrorCode>): boolean {
  return error.code === 'MEMBER_REFUSED' || error.code === 'NOT_PUBLIC';
}

/**
 * True when the member says that not a byte of the request reached the service: it never got a connection to it, or took
 * nothing on. Codes by which a member also ends what runs are none of these.
 */
export function wasNeverSent(code: string | undefined): boolean {
  return code === 'SERVICE_UNREACHABLE' || code === 'SERVICE_BUSY' || code === 'STREAM_LIMIT' || code === 'OPEN_RATE';
}

/** `code` is what the other side reset the stream with; undefined when it just ended. */
export function failureOf(code: string | undefined): MoatError<GatewayErrorCode> {
  const details = code === undefined ? {} : { streamCode: code.slice(0, 64) };
  if (code === 'NOT_PUBLIC') {
    // The owner sees whose consent is missing; the public is not told how this network is made.
    return refusal('NOT_PUBLIC', 'this service is not open to the public now', { details, retryable: true });
  }
  if (code !== undefined && REFUSED.test(code)) {
    return refusal('MEMBER_REFUSED', 'the machine behind this name does not let the request in', { details });
  }
  const [ours, message] = (code === undefined ? undefined : MESSAGES.get(code)) ?? [
    'LINK_LOST',
    'the connection to the machine behind this name broke',
  ];
  return refusal(ours, message, { details, retryable: !FINAL.has(ours) });
}

export function stalled(): MoatError<GatewayErrorCode> {
  return refusal('CLIENT_STALLED', 'the client neither sent nor read for too long');
}
