/** The address book on disk. Addresses are a convenience: they are written together, a little later. */
import type { Clock, Logger, PeerId, Timer } from '@moat/core';
import { errorCode } from '@moat/core';
import { ADDRESSES_PER_PEER, type AddressBook } from '@moat/overlay';

const WRITE_DELAY_MS = 1000;

export interface StoredAddressBookDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: {
    addresses(): ReadonlyMap<PeerId, readonly string[]>;
    saveAddresses(learned: ReadonlyMap<PeerId, readonly string[]>, learnedAt: number): void;
  };
}

/** Bound: what the store keeps; the least recently learned peer is dropped there. */
export class StoredAddressBook implements AddressBook {
  readonly #deps: StoredAddressBookDeps;
  readonly #known: Map<PeerId, readonly string[]>;
  readonly #unsaved = new Map<PeerId, readonly string[]>();
  #timer: Timer | undefined;

  constructor(deps: StoredAddressBookDeps) {
    this.#deps = deps;
    this.#known = new Map(deps.store.addresses());
  }

  known(peer: PeerId): readonly string[] {
    return this.#known.get(peer) ?? [];
  }

  learn(peer: PeerId, addresses: readonly string[]): void {
    const before = this.known(peer);
    const merged = [...new Set([...addresses, ...before])].slice(0, ADDRESSES_PER_PEER);
    if (merged.length === before.length && merged.every((address, i) => address === before[i])) return;
    this.#known.set(peer, merged);
    this.#unsaved.set(peer, merged);
    this.#timer ??= this.#deps.clock.after(WRITE_DELAY_MS, () => this.flush());
  }

  /** Writes what is not on disk yet. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#unsaved.size === 0) return;
    try {
      this.#deps.store.saveAddresses(this.#unsaved, this.#deps.clock.now());
      this.#unsaved.clear();
    } catch (error) {
      this.#deps.logger.warn(
        { component: 'node.addresses', code: errorCode(error), err: error },
        'addresses not saved',
      );
    }
  }
}
