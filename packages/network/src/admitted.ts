/**
 * What was admitted lately. It is asked for every request, and the answer stays the same until the contract, the consent or
 * the time changes it: the first two are told by {@link Admitted.forget}, the last stands beside each entry.
 */
import type { OpenRequest, PeerId } from '@moat/core';
import type { Admission, Asked } from './admission.ts';

type Granted = Extract<Admission, { readonly admitted: true }>;

interface Entry {
  readonly granted: Granted;
  /** Good before this, in milliseconds since 1970. */
  readonly until: number;
}

/** Emptied when full: a peer that may open nothing gets no entry. */
const MAX_ENTRIES = 1_024;

/** By the peer and, as a link hands over the same object for the same question, by identity. Bound: 1,024 entries. */
export class Admitted {
  readonly #byPeer = new Map<PeerId, Map<OpenRequest, Entry>>();
  #size = 0;

  get({ peer, request }: Asked, now: number): Granted | undefined {
    const entry = this.#byPeer.get(peer)?.get(request);
    return entry !== undefined && now < entry.until ? entry.granted : undefined;
  }

  keep({ peer, request }: Asked, granted: Granted, until: number): void {
    if (this.#size >= MAX_ENTRIES) this.forget();
    const ofPeer = this.#byPeer.get(peer) ?? new Map<OpenRequest, Entry>();
    if (ofPeer.size === 0) this.#byPeer.set(peer, ofPeer);
    ofPeer.set(request, { granted, until });
    this.#size += 1;
  }

  forget(): void {
    this.#byPeer.clear();
    this.#size = 0;
  }
}
