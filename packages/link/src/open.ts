/**
 * The payload of an `open` frame: what the stream is for, and on `http` the request's head.
 *
 *   kind u8 (1 tcp, 2 http) | deployment 26 bytes | service u8+n | [request head]
 */
import { isDeploymentId, isLabel } from '@moat/core';
import type { OpenRequest, RequestHead } from '@moat/core';

import { frameError } from './frame.ts';
import { encodeRequestHead } from './http-head.ts';

const KIND_TCP = 1;
const KIND_HTTP = 2;
const DEPLOYMENT_AT = 1;
const SERVICE_AT = 27;

/** @throws `FRAME_INVALID`, `HEAD_INVALID`, `HEAD_TOO_LARGE` */
export function encodeOpen(request: OpenRequest, head: RequestHead | undefined): Buffer {
  if (!isDeploymentId(request.deployment) || !isLabel(request.service)) {
    throw frameError('FRAME_INVALID', 'not a deployment and a service', {});
  }
  if ((request.kind === 'http') !== (head !== undefined)) {
    throw frameError('FRAME_INVALID', 'an http stream has a head, a tcp stream has none', {});
  }
  const encodedHead = head === undefined ? undefined : encodeRequestHead(head);
  const headAt = SERVICE_AT + 1 + request.service.length;
  const bytes = Buffer.allocUnsafe(headAt + (encodedHead?.length ?? 0));
  bytes[0] = request.kind === 'http' ? KIND_HTTP : KIND_TCP;
  bytes.write(request.deployment, DEPLOYMENT_AT, 'latin1');
  bytes[SERVICE_AT] = request.service.length;
  bytes.write(request.service, SERVICE_AT + 1, 'latin1');
  if (encodedHead !== undefined) bytes.set(encodedHead, headAt);
  return bytes;
}

/** What an `open` frame says. */
export interface DecodedOpen {
  readonly request: OpenRequest;
  /** The encoded head of an `http` stream; borrowed, and checked only by its own decoder. */
  readonly head: Buffer | undefined;
}

/** @throws `FRAME_INVALID` unless kind, deployment and service are well formed; the payload is borrowed. */
export function decodeOpen(payload: Buffer): DecodedOpen {
  const kindByte = payload[0];
  const serviceLength = payload[SERVICE_AT] ?? 0;
  const headAt = SERVICE_AT + 1 + serviceLength;
  const deployment = payload.toString('latin1', DEPLOYMENT_AT, SERVICE_AT);
  const service = payload.toString('latin1', SERVICE_AT + 1, headAt);
  const kind = kindByte === KIND_HTTP ? 'http' : 'tcp';
  if (
    (kindByte !== KIND_TCP && kindByte !== KIND_HTTP) ||
    !isDeploymentId(deployment) ||
    !isLabel(service) ||
    service.length !== serviceLength ||
    (kind === 'tcp' && payload.length !== headAt)
  ) {
    throw frameError('FRAME_INVALID', 'a malformed open', {});
  }
  const request: OpenRequest = { deployment, service, kind };
  return { request, head: kind === 'http' ? payload.subarray(headAt) : undefined };
}
