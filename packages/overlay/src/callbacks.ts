/**
 * Which members a keeper still has to call. A keeper that comes back at another address is dialed by nobody: all
 * know the old one. So it dials its members once, when it starts and after it lost one; they learn where it is.
 */
import type { PeerId } from '@moat/core';

/** Attempts at one member; then it is the member's turn, or another keeper's. */
const TRIES = 3;

/** Bound: one record a member of a deployment that this machine keeps. */
export class Callbacks {
  readonly #tried = new Map<PeerId, number>();

  isDone(peer: PeerId): boolean {
    return (this.#tried.get(peer) ?? 0) >= TRIES;
  }

  /** Runs one attempt and counts it; one that succeeds is enough. */
  async attempt(peer: PeerId, call: () => Promise<unknown>): Promise<void> {
    this.#tried.set(peer, (this.#tried.get(peer) ?? 0) + 1);
    await call();
    this.done(peer);
  }

  /** It is connected, so it knows where we are; true, until that connection is {@link Callbacks.lost}. */
  done(peer: PeerId): true {
    this.#tried.set(peer, TRIES);
    return true;
  }

  /** The last connection to a peer is gone: our address may have changed. */
  lost(peer: PeerId): void {
    this.#tried.delete(peer);
  }

  keepOnly(peers: ReadonlySet<PeerId>): void {
    for (const peer of this.#tried.keys()) if (!peers.has(peer)) this.#tried.delete(peer);
  }
}
