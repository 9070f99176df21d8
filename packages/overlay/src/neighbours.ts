import type { PeerId } from '@moat/core';

/** Machines remembered; the one not heard of for longest is dropped. */
const MAX_NEIGHBOURS = 256;
const MAX_ADDRESSES = 8;

/** Who announced itself on the local network. Anyone there can say anything, so it is only a place to dial. */
export class Neighbours {
  readonly #known = new Map<PeerId, readonly string[]>();

  known(peer: PeerId): readonly string[] {
    return this.#known.get(peer) ?? [];
  }

  heard(peer: PeerId, addresses: readonly string[]): void {
    this.#known.delete(peer);
    this.#known.set(peer, addresses.slice(0, MAX_ADDRESSES));
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_NEIGHBOURS && oldest !== undefined) this.#known.delete(oldest);
  }
}
