/** The client side of anchors: the places through which other machines reach us. */
import { MoatError, errorCode, type Clock, type Logger, type PeerId, type Timer } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import type { OverlayConnection } from './connection.ts';
import { Deadline } from './deadline.ts';
import type { Dialer } from './dialer.ts';
import type { Probation } from './probation.ts';
import { RelayStream } from './relay-stream.ts';
import { HOP_PROTOCOL, RELAY_STATUS, decodeHopStatus, encodeReserve } from './relay-wire.ts';

const RESERVE_MS = 8000;
/** Milliseconds between two renewals, at least and at most; in between, half of what the anchor granted. */
const RENEW_MIN_MS = 30_000;
const RENEW_MAX_MS = 1_800_000;

export interface ReservationsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly dialer: Dialer;
  readonly probation: Probation;
  /** A place is held over this connection from now on. */
  readonly onHeld: (connection: OverlayConnection) => void;
  readonly onLost: () => void;
}

interface Place {
  readonly address: string;
  readonly connection: OverlayConnection;
  readonly release: () => void;
  timer: Timer;
}

/** Bound: two anchors a deployment. */
export class Reservations {
  readonly #deps: ReservationsDeps;
  readonly #places = new Map<PeerId, Place>();
  /** Anchors we are asking: they may pass connections on to us before their answer is read. */
  readonly #asking = new Set<PeerId>();

  constructor(deps: ReservationsDeps) {
    this.#deps = deps;
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
    if (connection.relayed) return false;
    return this.#places.get(connection.peer)?.connection === connection || this.#asking.has(connection.peer);
  }

  /**
   * Connects to an anchor at any of its addresses and takes a place there.
   * @throws `PEER_UNREACHABLE`, `RESERVATION_REFUSED`, or what a stream throws.
   */
  async take(addresses: readonly string[], signal: AbortSignal): Promise<void> {
    const [address] = addresses;
    if (address === undefined) return;
    const peer = peerIdOfMultiaddr(address);
    using deadline = new Deadline(this.#deps.clock, RESERVE_MS, signal);
    const connection = await this.#deps.dialer.dial(addresses, deadline.signal);
    const release = this.#deps.probation.hold(connection);
    this.#asking.add(peer);
    try {
      const grantedMs = await this.#reserve(connection, deadline.signal);
      this.#drop(peer);
      this.#places.set(peer, { address, connection, release, timer: this.#renewLater(peer, grantedMs) });
    } catch (error) {
      release();
      throw error;
    } finally {
      this.#asking.delete(peer);
    }
    this.#deps.logger.info({ peer }, 'reservation held');
    this.#deps.onHeld(connection);
    if (connection.closed.aborted) this.#lose(peer);
  }

  /** Gives up places at anchors no contract names any more. */
  keepOnly(peers: ReadonlySet<PeerId>): void {
    for (const peer of this.#places.keys()) if (!peers.has(peer)) this.#lose(peer);
  }

  forget(connection: OverlayConnection): void {
    if (this.#places.get(connection.peer)?.connection === connection) this.#lose(connection.peer);
  }

  stop(): void {
    for (const peer of this.#places.keys()) this.#drop(peer);
  }

  /** One request; resolves to the milliseconds granted. */
  async #reserve(connection: OverlayConnection, signal: AbortSignal): Promise<number> {
    const stream = await connection.raw.newStream(HOP_PROTOCOL, { signal, runOnLimitedConnection: true });
    try {
      const hop = new RelayStream(stream);
      hop.write(encodeReserve());
      const { status, expiresSeconds } = decodeHopStatus(await hop.read(signal));
      if (status !== RELAY_STATUS.ok) {
        throw new MoatError('RESERVATION_REFUSED', 'the anchor has no place for this machine', {
          details: { status },
          retryable: true,
        });
      }
      await stream.close({ signal });
      return (expiresSeconds ?? 0) * 1000 - this.#deps.clock.now();
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  #renewLater(peer: PeerId, grantedMs: number): Timer {
    const delayMs = Math.min(RENEW_MAX_MS, Math.max(RENEW_MIN_MS, grantedMs / 2));
    return this.#deps.clock.after(delayMs, () => void this.#renew(peer));
  }

  async #renew(peer: PeerId): Promise<void> {
    const place = this.#places.get(peer);
    if (place === undefined) return;
    try {
      using deadline = new Deadline(this.#deps.clock, RESERVE_MS, place.connection.closed);
      const grantedMs = await this.#reserve(place.connection, deadline.signal);
      if (this.#places.get(peer) === place) place.timer = this.#renewLater(peer, grantedMs);
    } catch (error) {
      this.#deps.logger.info({ peer, code: errorCode(error), err: error }, 'reservation not renewed');
      if (this.#places.get(peer) === place) this.#lose(peer);
    }
  }

  #lose(peer: PeerId): void {
    this.#drop(peer);
    this.#deps.logger.info({ peer }, 'reservation lost');
    this.#deps.onLost();
  }

  #drop(peer: PeerId): void {
    const place = this.#places.get(peer);
    if (place === undefined) return;
    this.#places.delete(peer);
    place.timer.cancel();
    place.release();
  }
}
