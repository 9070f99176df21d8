/**
 * The messages of libp2p's circuit relay v2 that an anchor reads and writes (protobuf, libp2p/specs relay/circuit-v2),
 * each behind a varint of its length. Written by hand because the package's own server queues without bound
 * between two peers, and its codec is not exported.
 */
import { MoatError, peerIdFromPublicKey, publicKeyFromPeerId, type PeerId } from '@moat/core';
import { invalid } from './messages.ts';

export const HOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/hop';
export const STOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/stop';
/** Bytes of one message; the longest legal one names a peer and its addresses. */
export const MAX_RELAY_MESSAGE_BYTES = 4096;

/** Status codes of the specification. */
export const RELAY_STATUS = {
  ok: 100,
  reservationRefused: 200,
  resourceLimitExceeded: 201,
  permissionDenied: 202,
  connectionFailed: 203,
  noReservation: 204,
  malformedMessage: 400,
} as const;
export type RelayStatus = (typeof RELAY_STATUS)[keyof typeof RELAY_STATUS];

export type HopRequest = { readonly kind: 'reserve' } | { readonly kind: 'connect'; readonly peer: PeerId };

const HOP_STATUS_TYPE = 2;
/** identity multihash, 36 bytes, protobuf of an Ed25519 key. */
const PEER_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);

/** @throws `MESSAGE_INVALID` for anything but RESERVE, or CONNECT to an Ed25519 PeerId. */
export function decodeHopRequest(bytes: Uint8Array): HopRequest {
  const fields = decodeFields(bytes);
  const type = fields.get(1);
  if (type === 0) return { kind: 'reserve' };
  const peer = fields.get(2);
  if (type !== 1 || !(peer instanceof Uint8Array)) throw invalid('neither RESERVE nor CONNECT');
  const id = decodeFields(peer).get(1);
  if (!(id instanceof Uint8Array) || id.length !== 38 || !PEER_PREFIX.every((byte, i) => id[i] === byte)) {
    throw invalid('CONNECT without an Ed25519 PeerId');
  }
  return { kind: 'connect', peer: peerIdFromPublicKey(id.subarray(PEER_PREFIX.length)) };
}

/** HopMessage STATUS; `expiresSeconds` (Unix time) only for a reservation. */
export function encodeHopStatus(status: RelayStatus, expiresSeconds?: number): Uint8Array {
  const reservation =
    expiresSeconds === undefined ? [] : bytesField(3, Uint8Array.from(varintField(1, expiresSeconds)));
  return Uint8Array.from([...varintField(1, HOP_STATUS_TYPE), ...reservation, ...varintField(5, status)]);
}

/** HopMessage RESERVE. */
export function encodeReserve(): Uint8Array {
  return Uint8Array.from(varintField(1, 0));
}

/** A HopMessage STATUS and, for a reservation, when it ends (Unix seconds). @throws `MESSAGE_INVALID` */
export function decodeHopStatus(bytes: Uint8Array): {
  readonly status: number;
  readonly expiresSeconds: number | undefined;
} {
  const fields = decodeFields(bytes);
  const status = fields.get(5);
  if (fields.get(1) !== HOP_STATUS_TYPE || typeof status !== 'number') throw invalid('not a STATUS');
  const reservation = fields.get(3);
  const expires = reservation instanceof Uint8Array ? decodeFields(reservation).get(1) : undefined;
  return { status, expiresSeconds: typeof expires === 'number' ? expires : undefined };
}

/** StopMessage CONNECT: this peer wants to reach you. */
export function encodeStopConnect(peer: PeerId): Uint8Array {
  const id = Uint8Array.from([...PEER_PREFIX, ...publicKeyFromPeerId(peer)]);
  return Uint8Array.from([...varintField(1, 0), ...bytesField(2, Uint8Array.from(bytesField(1, id)))]);
}

/** The status in a StopMessage STATUS. @throws `MESSAGE_INVALID` */
export function decodeStopStatus(bytes: Uint8Array): number {
  const fields = decodeFields(bytes);
  const status = fields.get(4);
  if (fields.get(1) !== 1 || typeof status !== 'number') throw invalid('not a STATUS');
  return status;
}

/** The message behind its length. */
export function withLength(message: Uint8Array): Uint8Array {
  return Uint8Array.from([...varint(message.length), ...message]);
}

/**
 * The length at the start of `bytes` and where the message begins, or undefined while it is not complete.
 * @throws `MESSAGE_INVALID`, `MESSAGE_TOO_LARGE`
 */
export function readLength(bytes: Uint8Array): { readonly length: number; readonly at: number } | undefined {
  const read = readVarint(bytes, 0);
  if (read === undefined) {
    if (bytes.length >= 3) throw invalid('a length that does not end');
    return undefined;
  }
  if (read.value > MAX_RELAY_MESSAGE_BYTES)
    throw new MoatError('MESSAGE_TOO_LARGE', `a relay message has at most ${MAX_RELAY_MESSAGE_BYTES} bytes`);
  return { length: read.value, at: read.next };
}

/** Field number → last value: a number for varints, bytes for length-delimited ones; others are refused. */
function decodeFields(bytes: Uint8Array): Map<number, number | Uint8Array> {
  const fields = new Map<number, number | Uint8Array>();
  for (let at = 0; at < bytes.length;) {
    const key = readVarint(bytes, at);
    if (key === undefined) throw invalid('protobuf key');
    const value = readVarint(bytes, key.next);
    if (value === undefined) throw invalid('protobuf value');
    at = value.next;
    const wire = key.value % 8;
    if (wire === 0) fields.set(Math.floor(key.value / 8), value.value);
    else if (wire === 2) {
      if (value.value > bytes.length - at) throw invalid('protobuf length');
      fields.set(Math.floor(key.value / 8), bytes.subarray(at, at + value.value));
      at += value.value;
    } else throw invalid('protobuf wire type');
  }
  return fields;
}

/** At most 7 bytes, so that the value is exact. */
function readVarint(bytes: Uint8Array, at: number): { readonly value: number; readonly next: number } | undefined {
  let value = 0;
  for (let i = 0; i < 7; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, next: at + i + 1 };
  }
  throw invalid('a number that is too long');
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return bytes;
}

function varintField(field: number, value: number): number[] {
  return [...varint(field * 8), ...varint(value)];
}

function bytesField(field: number, value: Uint8Array): number[] {
  return [...varint(field * 8 + 2), ...varint(value.length), ...value];
}
