/** The client side of anchors: the places that other machines reach us through. */
import { type Clock, type Logger, type PeerId } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import { peerIdFromString } from '@libp2p/peer-id';
import type { OverlayConnection } from './connection.ts';
import { Deadline, raced } from './deadline.ts';
import type { Dialer } from './dialer.ts';
import type { ReservationClient } from './host.ts';
import type { Probation } from './probation.ts';

const RESERVE_MS = 8000;

export interface ReservationsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly probation: Probation;
  readonly client: () => ReservationClient;
  readonly onLost: () => void;
}

interface Place {
  readonly address: string;
  readonly connection: OverlayConnection;
  readonly release: () => void;
}

/** Bound: two anchors a deployment. */
export class Reservations {
  readonly #deps: ReservationsDeps;
  readonly #places = new Map<PeerId, Place>();
  /** Anchors we are asking or hold a place at: only these may pass connections on to us. */
  readonly #anchors = new Set<PeerId>();

  constructor(deps: ReservationsDeps) {
    this.#deps = deps;
  }

  /** Starts to listen for places that are lost; call once, when the host runs. */
  watch(): void {
    this.#deps.client().addEventListener('relay:removed', (event) => {
      const { relay } = (event as CustomEvent<{ relay: { toString(): string } }>).detail;
      this.#lose(relay.toString());
    });
  }

  /** Anchors that pass connections on to us now, with the address they were reached at. */
  held(): { readonly peer: PeerId; readonly address: string }[] {
    return [...this.#places].map(([peer, { address }]) => ({ peer, address }));
  }

  has(peer: PeerId): boolean {
    return this.#places.has(peer);
  }

  /** True for a connection through which an anchor may pass others on to us. */
  isFrom(connection: OverlayConnection): boolean {
    return this.#anchors.has(connection.peer) && !connection.relayed;
  }

  /** Connects to an anchor at any of its addresses and takes a place there. @throws `PEER_UNREACHABLE`, or what the anchor answers */
  async take(addresses: readonly string[], signal: AbortSignal): Promise<void> {
    const { clock, dialer, probation } = this.#deps;
    const [address] = addresses;
    if (address === undefined) return;
    const peer = peerIdOfMultiaddr(address);
    using deadline = new Deadline(clock, RESERVE_MS, signal);
    const connection = await dialer.dial(addresses, deadline.signal);
    const release = probation.hold(connection);
    this.#anchors.add(peer);
    try {
      await raced(this.#deps.client().addRelay(peerIdFromString(peer), 'configured'), deadline.signal);
    } catch (error) {
      release();
      this.#anchors.delete(peer);
      throw error;
    }
    this.#places.get(peer)?.release();
    this.#places.set(peer, { address, connection, release });
    this.#deps.logger.info({ peer }, 'reservation held');
    if (connection.closed.aborted) this.#lose(peer);
  }

  /** Gives up places at anchors no contract names any more. */
  keepOnly(peers: ReadonlySet<PeerId>): void {
    for (const peer of this.#places.keys()) if (!peers.has(peer)) this.#lose(peer);
  }

  forget(connection: OverlayConnection): void {
    if (this.#places.get(connection.peer)?.connection === connection) this.#lose(connection.peer);
  }

  #lose(peer: PeerId): void {
    const place = this.#places.get(peer);
    if (place === undefined) return;
    this.#places.delete(peer);
    this.#anchors.delete(peer);
    place.release();
    this.#deps.logger.info({ peer }, 'reservation lost');
    this.#deps.onLost();
  }
}
