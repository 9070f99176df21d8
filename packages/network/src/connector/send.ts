/**
 * Sends to sockets what is only borrowed. A socket keeps what the kernel did not take at once, and only then; so one
 * buffer serves all of them, and a new one is made only for a socket that keeps it.
 */
import type { Socket } from 'node:net';
import { noteReadBuffer } from '@moat/core';

/** A large frame or the largest head, each with what frames it. */
const SHARED_BYTES = 65 * 1024;

let shared = Buffer.allocUnsafeSlow(SHARED_BYTES);

/** Latin1 text or bytes. */
export type Piece = string | Uint8Array;

/** Where bytes may be written for {@link sendShared}; valid until anything is sent from here. */
export function sharedBuffer(): Buffer {
  return shared;
}

/** Sends the first `length` bytes of {@link sharedBuffer}. Returns what `socket.write` does. */
export function sendShared(socket: Socket, length: number): boolean {
  const bytes = shared.subarray(0, length);
  // It would be kept: a small part of it is no reason to make a large one anew.
  if (keeps(socket)) return socket.write(Buffer.from(bytes));
  const more = socket.write(bytes);
  if (keeps(socket)) {
    noteReadBuffer(SHARED_BYTES);
    shared = Buffer.allocUnsafeSlow(SHARED_BYTES);
  }
  return more;
}

/** Sends copies of `pieces`, in one go. Returns what `socket.write` does. */
export function sendCopies(socket: Socket, pieces: readonly Piece[]): boolean {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  if (length <= SHARED_BYTES && !keeps(socket)) {
    join(shared, pieces);
    return sendShared(socket, length);
  }
  noteReadBuffer(length);
  const bytes = Buffer.allocUnsafe(length);
  join(bytes, pieces);
  return socket.write(bytes);
}

/** True while the socket holds on to what it was given: one that is connecting always does. */
function keeps(socket: Socket): boolean {
  return socket.connecting || socket.writableLength > 0;
}

function join(into: Buffer, pieces: readonly Piece[]): void {
  let at = 0;
  for (const piece of pieces) {
    if (typeof piece === 'string') into.write(piece, at, 'latin1');
    else into.set(piece, at);
    at += piece.length;
  }
}
