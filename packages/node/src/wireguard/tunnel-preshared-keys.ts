/** Post-quantum preshared keys of WireGuard peers, agreed on over the overlay. */
import type { Clock, Logger } from '@moat/core';
import {
  createPresharedKeys,
  createPskDoor,
  type PresharedKeys,
  type PresharedKeysOf,
  type PskDoor,
} from '@moat/network';
import type { Overlay } from '@moat/overlay';
import type { PathsOf } from './wireguard.ts';

export interface TunnelPresharedKeysDeps {
  /** Asked only once it is made. */
  readonly overlay: () => Overlay;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The keys of every interface of this machine. */
export class TunnelPresharedKeys {
  readonly #deps: TunnelPresharedKeysDeps;
  #door: PskDoor | undefined;

  constructor(deps: TunnelPresharedKeysDeps) {
    this.#deps = deps;
  }

  /** The keys of one interface's peers; nothing runs before they are started. */
  create({ tunnels, tunnel, deployment, publicKey, isAwake }: PathsOf & PresharedKeysOf): PresharedKeys {
    const { clock, logger } = this.#deps;
    const control = this.#deps.overlay();
    const door = (this.#door ??= createPskDoor({ control, clock }));
    return createPresharedKeys(
      { control, door, tunnels, clock, logger: logger.child({ deployment }), isAwake },
      { tunnel, deployment, publicKey },
    );
  }
}
