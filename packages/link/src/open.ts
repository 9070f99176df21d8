/**
 * The payload of an `open` frame: what the stream is for, and on `http` the request's head.
 *
 *   kind u8 (1 tcp, 2 http, 3 packets) | deployment 26 bytes | service u8+n | [request head, or arrival of a tcp stream]
 *
 * A stream of another kind is refused alone, so that a newer peer may ask. The service of `packets` is empty.
 *
 * All before the head is the same for every request of a service, so it is checked and made once, in either direction.
 */
import { isDeploymentId, isLabel, isMoatError } from '@moat/core';
import type { Arrival, OpenRequest, RequestHead, StreamKind } from '@moat/core';

import { encodeArrival } from './arrival.ts';
import { frameError } from './frame.ts';
import { encodeRequestHead } from './http-head.ts';

const KIND_BYTES = { tcp: 1, http: 2, packets: 3 } as const satisfies Record<StreamKind, number>;
/** By their byte. */
const KINDS: readonly (StreamKind | undefined)[] = [undefined, 'tcp', 'http', 'packets'];
const DEPLOYMENT_AT = 1;
const SERVICE_AT = 27;
/** Prefixes kept in each direction, a kilobyte each at most; when there are more, all are forgotten. */
const MAX_KEPT = 1024;

/** By kind, deployment and service. */
const encoded: Readonly<Record<StreamKind, Map<string, Map<string, Buffer>>>> = {
  http: new Map(),
  tcp: new Map(),
  packets: new Map(),
};
let encodedCount = 0;
/** By the prefix as Latin-1. */
const decoded = new Map<string, OpenRequest>();

/**
 * Borrowed until the next call of any encoder of heads.
 * @throws `FRAME_INVALID`, `HEAD_INVALID`, `HEAD_TOO_LARGE`
 */
export function encodeOpen(request: OpenRequest, head: RequestHead | undefined, arrival?: Arrival): Buffer {
  const isHttp = request.kind === 'http';
  if (isHttp !== (head !== undefined) || (arrival !== undefined && request.kind !== 'tcp')) {
    throw frameError('FRAME_INVALID', 'only an http stream has a head, only a tcp stream an arrival', {});
  }
  const prefix = prefixOf(request);
  if (head !== undefined) return encodeRequestHead(head, prefix);
  return arrival === undefined ? prefix : encodeArrival(arrival, prefix);
}

/** The same, or the code of a head that a client got wrong. @throws `FRAME_INVALID` */
export function tryEncodeOpen(
  request: OpenRequest,
  head: RequestHead | undefined,
  arrival: Arrival | undefined,
): Buffer | string {
  try {
    return encodeOpen(request, head, arrival);
  } catch (error) {
    if (isMoatError(error, 'HEAD_INVALID') || isMoatError(error, 'HEAD_TOO_LARGE')) return error.code;
    throw error;
  }
}

function prefixOf(request: OpenRequest): Buffer {
  const { deployment, service, kind } = request;
  // Two looks with strings that have their hash, rather than one with a string that is made for it.
  const ofKind = encoded[kind];
  const kept = ofKind.get(deployment)?.get(service);
  if (kept !== undefined) return kept;
  if (!isDeploymentId(deployment) || !fits(kind, service)) {
    throw frameError('FRAME_INVALID', 'not a deployment and a service', {});
  }
  const prefix = Buffer.alloc(SERVICE_AT + 1 + service.length);
  prefix[0] = KIND_BYTES[kind];
  prefix.write(deployment, DEPLOYMENT_AT, 'latin1');
  prefix[SERVICE_AT] = service.length;
  prefix.write(service, SERVICE_AT + 1, 'latin1');
  if (encodedCount === MAX_KEPT) {
    for (const ofEach of Object.values(encoded)) ofEach.clear();
    encodedCount = 0;
  }
  encodedCount += 1;
  const ofDeployment = ofKind.get(deployment);
  if (ofDeployment === undefined) ofKind.set(deployment, new Map([[service, prefix]]));
  else ofDeployment.set(service, prefix);
  return prefix;
}

/** What an `open` frame says. */
export interface DecodedOpen {
  /** Undefined for a kind that this version does not know. */
  readonly request: OpenRequest | undefined;
  /** The encoded head of an `http` stream; borrowed, and checked only by its own decoder. */
  readonly head: Buffer | undefined;
  /** The encoded arrival of a `tcp` stream, likewise. */
  readonly arrival: Buffer | undefined;
}

/** @throws `FRAME_INVALID` unless deployment and service are well formed; the payload is borrowed. */
export function decodeOpen(payload: Buffer): DecodedOpen {
  if (KINDS[payload[0] ?? 0] === undefined) return UNKNOWN;
  const headAt = SERVICE_AT + 1 + (payload[SERVICE_AT] ?? 0);
  const prefix = payload.toString('latin1', 0, headAt);
  let request = decoded.get(prefix);
  if (request === undefined) {
    request = decodePrefix(prefix);
    if (decoded.size === MAX_KEPT) decoded.clear();
    decoded.set(prefix, request);
  }
  if (request.kind === 'http') return { request, head: payload.subarray(headAt), arrival: undefined };
  const arrival = payload.length > headAt ? payload.subarray(headAt) : undefined;
  if (arrival !== undefined && request.kind === 'packets') throw malformed();
  return { request, head: undefined, arrival };
}

const UNKNOWN: DecodedOpen = { request: undefined, head: undefined, arrival: undefined };

function decodePrefix(prefix: string): OpenRequest {
  const kind = KINDS[prefix.charCodeAt(0)];
  const deployment = prefix.slice(DEPLOYMENT_AT, SERVICE_AT);
  const service = prefix.slice(SERVICE_AT + 1);
  const isWhole = service.length === prefix.charCodeAt(SERVICE_AT);
  if (kind === undefined || !isDeploymentId(deployment) || !fits(kind, service) || !isWhole) throw malformed();
  return { deployment, service, kind };
}

function fits(kind: StreamKind, service: string): boolean {
  return kind === 'packets' ? service === '' : isLabel(service);
}

function malformed(): Error {
  return frameError('FRAME_INVALID', 'a malformed open', {});
}
