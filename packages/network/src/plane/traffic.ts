/** What a peer's counters say: whether programs send, and whether anybody answers. */
import type { TunnelPeerState } from '@moat/core';

/** Bytes of an empty packet, which is what a keepalive is. */
const KEEPALIVE_BYTES = 32;
/** Bytes of the larger half of a handshake, with an empty packet after it. */
const HANDSHAKE_BYTES = 148 + KEEPALIVE_BYTES;

type Counters = Pick<TunnelPeerState, 'sent' | 'received' | 'handshakeAt' | 'keepaliveSeconds'>;

export class Traffic {
  #last: (Counters & { readonly at: number }) | undefined;
  #allowance = 0;
  #trafficAt: number;
  #receivedAt: number;
  #unansweredAt: number | null = null;

  /** @param now milliseconds since 1970. */
  constructor(now: number) {
    this.#trafficAt = now;
    this.#receivedAt = now;
  }

  /** When anything but keepalives and handshakes last went either way. */
  get trafficAt(): number {
    return this.#trafficAt;
  }

  /** When anything was last received. */
  get receivedAt(): number {
    return this.#receivedAt;
  }

  /** Since when programs send and nothing comes back; null = it does. */
  get unansweredAt(): number | null {
    return this.#unansweredAt;
  }

  /** One empty packet of ours more than the keepalive explains. */
  nudged(): void {
    this.#allowance += KEEPALIVE_BYTES;
  }

  /** What was counted since the last look is our own doing. */
  skip(): void {
    this.#last = undefined;
    this.#unansweredAt = null;
  }

  /** Begins anew: counters so far say nothing about the way as it is now. */
  restart(now: number): void {
    this.#last = undefined;
    this.#allowance = 0;
    this.#unansweredAt = null;
    this.#receivedAt = now;
    this.#trafficAt = now;
  }

  /** The counters at `now`. */
  note(now: number, counters: Counters): void {
    const last = this.#last;
    const { handshakeAt, keepaliveSeconds, received, sent } = counters;
    this.#last = { at: now, sent, received, handshakeAt, keepaliveSeconds };
    if (last === undefined) return;
    const seconds = (now - last.at) / 1_000;
    const keepalives = 1 + (keepaliveSeconds > 0 ? Math.floor(seconds / keepaliveSeconds) : 0);
    const handshake = handshakeAt === last.handshakeAt ? 0 : HANDSHAKE_BYTES;
    const quietBytes = KEEPALIVE_BYTES * keepalives + handshake;
    const isSending = sent - last.sent > quietBytes + this.#allowance;
    this.#allowance = 0;
    if (isSending || received - last.received > quietBytes) this.#trafficAt = now;
    if (received > last.received) {
      this.#receivedAt = now;
      this.#unansweredAt = null;
    } else if (isSending) {
      this.#unansweredAt ??= last.at;
    }
  }
}
