/** What a peer's counters say: whether programs send, whether anybody answers, and when to look again. */
import type { TunnelPeerState } from '@moat/core';

/** Bytes of an empty packet, which is what a keepalive is. */
const KEEPALIVE_BYTES = 32;
/** Bytes of two whole handshakes, begun by both sides at once, with an empty packet after each (WireGuard paper §5.4). */
const HANDSHAKE_BYTES = 2 * (148 + 92 + KEEPALIVE_BYTES);
/** Milliseconds without traffic after which a path sleeps. */
const IDLE_MS = 5 * 60_000;
/** Milliseconds of sending without an answer after which the peer is asked. */
const UNANSWERED_MS = 1_000;
/** Milliseconds that a flow in one direction may go on after the peer said that it arrives; and for how long that is believed. */
const ONE_WAY_MS = 10_000;
const ONE_WAY_BELIEVED_MS = 60_000;
/** Milliseconds without any packet on a path that is kept alive. */
const SILENT_MS = 40_000;
/** Milliseconds until the next look while something is unanswered. */
const SOON_MS = 500;
/** Milliseconds after traffic in which there is likely to be more. */
const BUSY_MS = 5_000;

/** `idle`: nothing to keep a path for; `doubtful`: the peer may hear nothing, or we. */
export type TrafficVerdict = 'fine' | 'idle' | 'doubtful';

type Counters = Pick<TunnelPeerState, 'sent' | 'received' | 'handshakeAt' | 'keepaliveSeconds'>;

export class Traffic {
  #last: (Counters & { readonly at: number }) | undefined;
  #allowance = 0;
  #trafficAt: number;
  #receivedAt: number;
  #unansweredAt: number | null = null;
  #oneWayUntil = 0;

  /** @param now milliseconds since 1970. */
  constructor(now: number) {
    this.#trafficAt = now;
    this.#receivedAt = now;
  }

  /** What the counters say of a path; `isKept`: keepalives go over it. */
  verdict(now: number, isKept: boolean): TrafficVerdict {
    if (now - this.#trafficAt >= IDLE_MS) return 'idle';
    const patienceMs = now < this.#oneWayUntil ? ONE_WAY_MS : UNANSWERED_MS;
    const isUnanswered = this.#unansweredAt !== null && now - this.#unansweredAt >= patienceMs;
    return isUnanswered || (isKept && now - this.#receivedAt >= SILENT_MS) ? 'doubtful' : 'fine';
  }

  /** Milliseconds that nothing came back before programs began to send in vain. */
  quietMs(now: number): number {
    return Math.max(0, (this.#unansweredAt ?? now) - this.#receivedAt);
  }

  /** Milliseconds until the counters are worth another look. */
  lookMs(now: number): number {
    if (this.#unansweredAt !== null) return SOON_MS;
    return now - this.#trafficAt < BUSY_MS ? 1_000 : 5_000;
  }

  /** What we send arrives, though nothing comes back. */
  oneWay(now: number): void {
    this.#oneWayUntil = now + ONE_WAY_BELIEVED_MS;
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
      // It may have been sent just now: the next look, which comes soon, says whether it was answered.
      this.#unansweredAt ??= Math.max(last.at, now - SOON_MS);
    }
  }
}
