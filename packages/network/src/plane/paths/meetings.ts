/**
 * Whom of its peers an interface has met. A member has a WireGuard key from the day it joined, and an interface only if
 * its operator wants one: what tells the two apart is a handshake.
 */
import { errorCode, sleep, type Clock, type Logger, type TunnelPeerState, type Tunnels } from '@moat/core';

/** Milliseconds that a member which did not answer is left alone. */
const AGAIN_MS = 10_000;
/** Milliseconds between two looks for a handshake. */
const LOOK_MS = 100;
/** Switched on, it makes WireGuard send a packet at once, which needs a handshake first. */
const KEEPALIVE_SECONDS = 25;

export interface MeetingsDeps {
  readonly tunnels: Pick<Tunnels, 'peers' | 'setPeer'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The peer's agent said that there is nobody to meet. */
  readonly isRefused: (publicKey: string) => boolean;
  /** What the peer's way wants, in seconds; 0 = none. */
  readonly keepaliveOf: (publicKey: string) => number;
}

/** Bound: the peers of one interface. */
export class Meetings {
  readonly #deps: MeetingsDeps;
  #met: ReadonlySet<string> = new Set();
  /** When a peer was called last, in milliseconds since 1970. */
  readonly #calledAt = new Map<string, number>();

  constructor(deps: MeetingsDeps) {
    this.#deps = deps;
  }

  has(publicKey: string): boolean {
    return this.#met.has(publicKey) && !this.#deps.isRefused(publicKey);
  }

  /** What the interface says of its peers now. */
  seen(peers: Iterable<TunnelPeerState>): void {
    this.#met = new Set([...peers].flatMap(({ publicKey, handshakeAt }) => (handshakeAt === null ? [] : publicKey)));
    for (const key of this.#met) this.#calledAt.delete(key);
  }

  /** Never rejects. */
  async meet(tunnel: string, publicKeys: readonly string[], waitMs: number): Promise<void> {
    const { clock, tunnels, logger } = this.#deps;
    const now = clock.now();
    const unmet = publicKeys.filter((key) => !this.#met.has(key));
    const called = unmet.filter((key) => now - (this.#calledAt.get(key) ?? -Infinity) >= AGAIN_MS);
    if (called.length === 0) return;
    for (const key of called) this.#calledAt.set(key, now);
    try {
      this.seen(await tunnels.peers(tunnel));
      const left = called.filter((key) => !this.#met.has(key));
      for (const key of left) await tunnels.setPeer(tunnel, key, { keepaliveSeconds: KEEPALIVE_SECONDS });
      while (left.some((key) => !this.#met.has(key)) && clock.now() < now + waitMs) {
        await sleep(clock, LOOK_MS);
        this.seen(await tunnels.peers(tunnel));
      }
      for (const key of left) {
        await tunnels.setPeer(tunnel, key, { keepaliveSeconds: this.#deps.keepaliveOf(key) });
      }
    } catch (error) {
      logger.debug({ code: errorCode(error), err: error }, 'peers not met');
    }
  }
}
