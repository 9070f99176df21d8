/** Looks whether this machine can be dialed elsewhere than before: a new lease, another network, a cable. */
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '@moat/core';

/** Milliseconds between two looks; no system tells Node of such a change. */
const LOOK_MS = 2_000;
/** Those of containers come and go all day. */
const LINK_LOCAL = /^(?:fe80:|169\.254\.)/i;

export interface AddressWatchDeps {
  readonly clock: Clock;
  /** As they are now. */
  readonly addresses: () => readonly string[];
  readonly onChange: () => void;
}

export class AddressWatch {
  readonly #deps: AddressWatchDeps;
  #known = '';
  #timer: Timer | undefined;

  constructor(deps: AddressWatchDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#known = this.#text();
    this.#later();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #later(): void {
    this.#timer = this.#deps.clock.after(LOOK_MS, () => {
      const now = this.#text();
      if (now !== this.#known) {
        this.#known = now;
        this.#deps.onChange();
      }
      this.#later();
    });
  }

  #text(): string {
    return this.#deps.addresses().toSorted().join();
  }
}

/** Addresses of this machine's interfaces: who listens nowhere moves too, and its connections die with the old ones. */
export function machineAddresses(isInside: (host: string) => boolean): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((entries = []) =>
    entries.flatMap(({ address, internal }) =>
      internal || LINK_LOCAL.test(address) || isInside(address) ? [] : [address],
    ),
  );
}
