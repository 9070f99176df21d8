/** Looks whether this machine can be dialed elsewhere than before: a new lease, another network, a cable. */
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '@moat/core';

/** Milliseconds between two looks; no system tells Node of such a change. */
const LOOK_MS = 1_000;
/** Those of containers come and go all day. */
const LINK_LOCAL = /^(?:fe80:|169\.254\.)/i;

export interface AddressWatchDeps {
  readonly clock: Clock;
  /** Where it can be dialed, as it is now. */
  readonly addresses: () => readonly string[];
  /** Of its interfaces. */
  readonly hosts: () => readonly string[];
  /** `isElsewhere`: none of the addresses that its interfaces had is left, and with them no connection. */
  readonly onChange: (isElsewhere: boolean) => void;
}

export class AddressWatch {
  readonly #deps: AddressWatchDeps;
  #known = '';
  /** The last ones, if there are none now: a line that comes back with its address loses nothing. */
  #hosts: readonly string[] = [];
  #timer: Timer | undefined;

  constructor(deps: AddressWatchDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#known = this.#text();
    this.#hosts = this.#deps.hosts();
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
        const hosts = this.#deps.hosts();
        const isElsewhere =
          this.#hosts.length > 0 && hosts.length > 0 && !hosts.some((host) => this.#hosts.includes(host));
        if (hosts.length > 0) this.#hosts = hosts;
        this.#deps.onChange(isElsewhere);
      }
      this.#later();
    });
  }

  #text(): string {
    return [...this.#deps.addresses(), ...this.#deps.hosts()].toSorted().join();
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
