/** Which handshakes that a peer begins reach our WireGuard. */
import { RateLimit, type Clock } from '@moat/core';

/** Handshakes that a peer may begin in so many milliseconds; WireGuard does so every five seconds. */
const HANDSHAKES = { count: 10, perMs: 5000, maxKeys: 1 };
/** Milliseconds that a handshake of ours takes at most. */
const UNDER_WAY_MS = 1000;
const INITIATION = { type: 1, bytes: 148 } as const;
const RESPONSE = { type: 2, bytes: 92 } as const;

/**
 * Two limits. To WireGuard all that ride come from one address, which it limits as a whole: a peer must not use up the
 * others' part. And where both sides begin at once, each WireGuard takes the other's packet for a new beginning and forgets
 * its own, so that both answers come to nothing, until they begin again five seconds later: of two that cross the
 * leader's counts.
 */
export class HandshakeGate {
  readonly #clock: Clock;
  readonly #leads: boolean;
  readonly #begun: RateLimit;
  #ownAt: number | undefined;

  constructor(clock: Clock, leads: boolean) {
    this.#clock = clock;
    this.#leads = leads;
    this.#begun = new RateLimit({ now: () => clock.now() }, HANDSHAKES);
  }

  /** A packet of our WireGuard leaves. */
  left(packet: Uint8Array): void {
    if (isKind(packet, INITIATION)) this.#ownAt = this.#clock.now();
  }

  /** What has left may be lost. */
  lost(): void {
    this.#ownAt = undefined;
  }

  /** False for a packet of the peer that is to be dropped. */
  admits(packet: Uint8Array): boolean {
    if (isKind(packet, RESPONSE)) this.#ownAt = undefined;
    if (!isKind(packet, INITIATION)) return true;
    if (this.#begun.take('') > 0) return false;
    return !this.#leads || this.#ownAt === undefined || this.#clock.now() - this.#ownAt >= UNDER_WAY_MS;
  }
}

function isKind(packet: Uint8Array, { type, bytes }: { readonly type: number; readonly bytes: number }): boolean {
  return packet.length === bytes && packet[0] === type;
}
