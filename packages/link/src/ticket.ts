/** One-use keys for link sockets. They travel over the authenticated control connection and are spent before TLS begins. */
import { hkdfSync, randomBytes } from 'node:crypto';

import { toBase64url } from '@moat/core';
import type { Clock, PeerId, PeerConnection } from '@moat/core';

/** What the acceptor of a link is; it is bound into the key. */
export type LinkKind = 'member' | 'gateway';

export const TICKET_ID_BYTES = 16;
export const TICKET_SECRET_BYTES = 32;
/** Milliseconds between handing a ticket out and the end of its use. */
export const TICKET_LIFE_MS = 10_000;
/** `kind || id`: what the dialer sends first. */
export const PREAMBLE_BYTES: number = 1 + TICKET_ID_BYTES;

const KIND_BYTE: Readonly<Record<LinkKind, number>> = { member: 1, gateway: 2 };
/** In place of a kind: the id is one of an anchor's, not of a ticket. */
const SPLICE_BYTE = 3;

/** What the acceptor hands out. Secret: never logged. */
export interface Ticket {
  readonly id: Uint8Array;
  readonly secret: Uint8Array;
}

/** What a spent ticket allows: one TLS handshake with this key. */
export interface SpentTicket {
  /** base64url of the ticket's id: the TLS PSK identity. */
  readonly identity: string;
  readonly psk: Buffer;
  readonly peer: PeerId;
  /** The worker it was made for, which alone gets the key. */
  readonly worker?: number | undefined;
}

/** HKDF-SHA256 (RFC 5869) of the secret, bound to who dials whom. */
export function derivePsk(secret: Uint8Array, dialer: PeerId, acceptor: PeerId, kind: LinkKind): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `moat/link/1${dialer}${acceptor}${kind}`, 32));
}

/** The first 17 bytes of a link socket. */
export function encodePreamble(kind: LinkKind, id: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(KIND_BYTE[kind]), id]);
}

/** What each of two sockets shows to the anchor that shall join them. */
export function encodeSplicePreamble(id: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(SPLICE_BYTE), id]);
}

/** True for a preamble that names no ticket but a splice. */
export function isSplicePreamble(preamble: Buffer): boolean {
  return preamble[0] === SPLICE_BYTE;
}

interface Entry {
  readonly secret: Uint8Array;
  readonly peer: PeerId;
  readonly connection: PeerConnection;
  readonly expiresAt: number;
  readonly worker: number | undefined;
}

export interface TicketBookDeps {
  readonly clock: Clock;
  readonly self: PeerId;
  readonly kind: LinkKind;
  /** Processes that take links, each by tickets of its own. @defaultValue 1 */
  readonly workers?: number;
}

/** Tickets handed out and not used. Bound for each worker: 1024, the oldest is dropped; 8 a peer, its oldest is dropped. */
export class TicketBook {
  static readonly LIMIT = 1024;
  static readonly LIMIT_PER_PEER = 8;
  readonly #deps: TicketBookDeps;
  readonly #entries = new Map<string, Entry>();
  /** Ids by peer, oldest first; those without any are absent. */
  readonly #ofPeer = new Map<PeerId, Set<string>>();
  readonly #workers: number;

  constructor(deps: TicketBookDeps) {
    this.#deps = deps;
    this.#workers = deps.workers ?? 1;
  }

  /** A ticket for the peer of `connection`, good for 10 s, only while that connection stands, and at `worker` only. */
  issue(connection: PeerConnection, worker?: number): Ticket {
    this.#sweep();
    const { peer } = connection;
    const ids = this.#ofPeer.get(peer);
    if (ids !== undefined && ids.size >= TicketBook.LIMIT_PER_PEER * this.#workers) this.#dropFirst(ids);
    else if (this.#entries.size >= TicketBook.LIMIT * this.#workers) this.#dropFirst(this.#entries.keys());
    const ticket: Ticket = { id: randomBytes(TICKET_ID_BYTES), secret: randomBytes(TICKET_SECRET_BYTES) };
    const expiresAt = this.#deps.clock.now() + TICKET_LIFE_MS;
    const id = toBase64url(ticket.id);
    this.#entries.set(id, { secret: ticket.secret, peer, connection, expiresAt, worker });
    const known = this.#ofPeer.get(peer);
    if (known === undefined) this.#ofPeer.set(peer, new Set([id]));
    else known.add(id);
    return ticket;
  }

  /** Spends the ticket that a preamble names; undefined for an unknown, used, expired or orphaned one, or a wrong kind. */
  spend(preamble: Buffer): SpentTicket | undefined {
    const identity = toBase64url(preamble.subarray(1, PREAMBLE_BYTES));
    const entry = this.#entries.get(identity);
    this.#remove(identity);
    const { clock, self, kind } = this.#deps;
    if (entry === undefined || preamble[0] !== KIND_BYTE[kind]) return undefined;
    if (entry.expiresAt <= clock.now() || entry.connection.closed.aborted) return undefined;
    const { peer, worker } = entry;
    return { identity, psk: derivePsk(entry.secret, peer, self, kind), peer, worker };
  }

  /** Peers that hold a ticket. */
  peers(): ReadonlySet<PeerId> {
    return new Set(this.#ofPeer.keys());
  }

  /** Takes back every ticket of `peer`. */
  revoke(peer: PeerId): void {
    for (const id of this.#ofPeer.get(peer) ?? []) this.#remove(id);
  }

  #sweep(): void {
    const now = this.#deps.clock.now();
    // Insertion order is order of expiry.
    for (const [id, entry] of this.#entries) {
      if (entry.expiresAt > now) return;
      this.#remove(id);
    }
  }

  #dropFirst(ids: Iterable<string>): void {
    for (const id of ids) return this.#remove(id);
  }

  #remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    const ids = this.#ofPeer.get(entry.peer);
    ids?.delete(id);
    if (ids?.size === 0) this.#ofPeer.delete(entry.peer);
  }
}
