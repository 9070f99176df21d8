/**
 * An anchor lets two machines meet that accept no inbound connection: a machine reserves a place here, others
 * are passed through to it. It knows PeerIds and addresses, never deployments, and cannot read what passes.
 * It is open to any PeerId within the quotas below.
 */
import { MoatError, errorCode, type Clock, type Logger, type PeerId, type Timer } from '@moat/core';
import type { Stream } from '@libp2p/interface';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import { pulseOf } from './muxer.ts';
import { Observer } from './observer.ts';
import type { Relaying } from './overlay.ts';
import type { Probation } from './probation.ts';
import { PerSecond } from './per-second.ts';
import { RelayStream, relay, type Throttle } from './relay-stream.ts';
import {
  HOP_PROTOCOL,
  RELAY_STATUS,
  STOP_PROTOCOL,
  decodeHopRequest,
  decodeStopStatus,
  encodeHopStatus,
  encodeStopConnect,
  type RelayStatus,
} from './relay-wire.ts';
import { Tally } from './tally.ts';
import { TokenBucket } from './token-bucket.ts';

/** What one anchor gives to strangers. An address is an IPv4 address or the /64 of an IPv6 address. */
export interface AnchorLimits {
  /** Reservations held at once; more are refused. @defaultValue 1024 */
  readonly reservations: number;
  /** Reservations from one address. @defaultValue 64 */
  readonly reservationsPerAddress: number;
  /** Milliseconds a reservation lasts; holders renew it. @defaultValue 3600000 */
  readonly reservationMs: number;
  /**
   * Milliseconds without a word after which whoever holds a place is taken for gone, and those who are connected to it through
   * here are told by that. Holders say something every 25 s. @defaultValue 70000
   */
  readonly silentMs: number;
  /** Relayed connections at once, in all. @defaultValue 1024 */
  readonly relayed: number;
  /** Relayed connections one PeerId may have running, either end counted. @defaultValue 64 */
  readonly relayedPerPeer: number;
  /** Relayed connections that dialers from one address may have running. @defaultValue 128 */
  readonly relayedPerAddress: number;
  /** Bytes a second that one PeerId may send through, on average. @defaultValue 8388608 */
  readonly bytesPerSecondPerPeer: number;
  /** The same of all PeerIds at one address. @defaultValue 33554432 */
  readonly bytesPerSecondPerAddress: number;
}

export const DEFAULT_ANCHOR_LIMITS: AnchorLimits = {
  reservations: 1024,
  reservationsPerAddress: 64,
  reservationMs: 3_600_000,
  silentMs: 70_000,
  relayed: 1024,
  relayedPerPeer: 64,
  relayedPerAddress: 128,
  bytesPerSecondPerPeer: 8 * 1024 * 1024,
  bytesPerSecondPerAddress: 32 * 1024 * 1024,
};

/** Milliseconds for one relay request, the other peer's answer included. */
const HOP_MS = 8000;
/** Relayed connections a second that one address may ask for; a flood would spend the target's own limit on us. */
const CONNECTS_PER_SECOND = 16;
/** Relay streams of one connection. */
const MAX_HOP_STREAMS = 64;

interface Reservation {
  readonly connection: OverlayConnection;
  readonly release: () => void;
  readonly timer: Timer;
  /** Looks whether the holder has fallen silent. */
  look: Timer;
}

interface Bucket {
  readonly bucket: TokenBucket;
  users: number;
}

export interface AnchorDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
}

export class Anchor {
  readonly #deps: AnchorDeps;
  readonly #limits: AnchorLimits;
  readonly #reservations = new Map<PeerId, Reservation>();
  readonly #reservedFrom = new Tally();
  readonly #relayedBy = new Tally();
  readonly #relayedFrom = new Tally();
  /** Relayed connections from one address to one peer: nobody alone uses up a peer's. */
  readonly #relayedTo = new Tally();
  readonly #buckets = new Map<string, Bucket>();
  readonly #connects: PerSecond;
  readonly #observer: Observer;
  #relayed = 0;
  #leaving = false;

  constructor(deps: AnchorDeps, limits: AnchorLimits) {
    this.#connects = new PerSecond(deps.clock, CONNECTS_PER_SECOND);
    this.#observer = new Observer(deps);
    this.#deps = deps;
    this.#limits = limits;
  }

  serve(): void {
    this.#deps.control.handleRaw(
      HOP_PROTOCOL,
      (stream, connection) => this.#serve(stream, connection),
      'anyone',
      MAX_HOP_STREAMS,
    );
    this.#observer.serve();
  }

  /** Opens the UDP port for `/moat/observe/1`: with the number of the first of these TCP addresses. Never rejects. */
  start(listen: readonly string[], listening: readonly string[]): Promise<void> {
    return this.#observer.start(listen, listening);
  }

  get relaying(): Relaying {
    return { places: this.#reservations.size, maxPlaces: this.#limits.reservations };
  }

  /** Gives up what a closed connection held. */
  forget(connection: OverlayConnection): void {
    if (this.#reservations.get(connection.peer)?.connection === connection) this.#drop(connection.peer);
  }

  /** No new places and relayed connections; those that are there go on. */
  leave(): void {
    this.#leaving = true;
  }

  stop(): void {
    this.#observer.stop();
    for (const peer of this.#reservations.keys()) this.#drop(peer);
  }

  async #serve(stream: Stream, connection: OverlayConnection): Promise<void> {
    const hop = new RelayStream(stream);
    using deadline = new Deadline(this.#deps.clock, HOP_MS, connection.closed);
    const request = decodeHopRequest(await hop.read(deadline.signal));
    if (connection.relayed) return this.#refuse(hop, RELAY_STATUS.permissionDenied);
    if (request.kind === 'reserve') return this.#reserve(hop, connection);
    await this.#connect(hop, connection, request.peer, deadline.signal);
  }

  async #reserve(hop: RelayStream, connection: OverlayConnection): Promise<void> {
    const { clock, probation } = this.#deps;
    const address = connection.origin;
    const held = this.#reservations.get(connection.peer);
    const full =
      this.#leaving ||
      (held === undefined &&
        (this.#reservations.size >= this.#limits.reservations ||
          this.#reservedFrom.of(address) >= this.#limits.reservationsPerAddress));
    if (full) return this.#refuse(hop, RELAY_STATUS.reservationRefused);
    if (held !== undefined) this.#drop(connection.peer);
    this.#reservedFrom.add(address);
    this.#reservations.set(connection.peer, {
      connection,
      release: probation.hold(connection),
      timer: clock.after(this.#limits.reservationMs, () => this.#drop(connection.peer)),
      look: this.#lookIn(connection, this.#limits.silentMs),
    });
    hop.write(encodeHopStatus(RELAY_STATUS.ok, Math.floor((clock.now() + this.#limits.reservationMs) / 1000)));
    await hop.stream.close({ signal: connection.closed });
  }

  #lookIn(connection: OverlayConnection, delayMs: number): Timer {
    // what came until then is read before it is judged
    return this.#deps.clock.after(delayMs, () => setImmediate(() => this.#look(connection)));
  }

  #look(connection: OverlayConnection): void {
    const reservation = this.#reservations.get(connection.peer);
    if (reservation?.connection !== connection) return;
    const leftMs = this.#limits.silentMs - pulseOf(connection.raw).quietMs();
    if (leftMs <= 0) return this.#deps.probation.close(connection, 'silent for too long');
    reservation.look.cancel();
    reservation.look = this.#lookIn(connection, leftMs);
  }

  async #connect(hop: RelayStream, source: OverlayConnection, peer: PeerId, signal: AbortSignal): Promise<void> {
    const target = this.#reservations.get(peer)?.connection;
    if (target === undefined || target.closed.aborted) return this.#refuse(hop, RELAY_STATUS.noReservation);
    const address = source.origin;
    if (this.#leaving || !this.#connects.allow(address) || this.#isBusy(source.peer, peer, address))
      return this.#refuse(hop, RELAY_STATUS.resourceLimitExceeded);
    this.#relayed += 1;
    for (const end of [source.peer, peer]) this.#relayedBy.add(end);
    this.#relayedFrom.add(address);
    this.#relayedTo.add(`${address} ${peer}`);
    try {
      const stop = await this.#stop(source.peer, target, signal);
      if (stop === undefined) return await this.#refuse(hop, RELAY_STATUS.connectionFailed);
      hop.write(encodeHopStatus(RELAY_STATUS.ok));
      this.#deps.logger.debug({ peer: source.peer, to: peer }, 'relaying');
      await this.#relay({ hop, source }, { stop, target });
    } finally {
      this.#relayed -= 1;
      for (const end of [source.peer, peer]) this.#relayedBy.remove(end);
      this.#relayedFrom.remove(address);
      this.#relayedTo.remove(`${address} ${peer}`);
    }
  }

  async #relay(
    from: { hop: RelayStream; source: OverlayConnection },
    to: { stop: RelayStream; target: OverlayConnection },
  ): Promise<void> {
    const ends = [from.source, to.target];
    const releases = ends.map((connection) => this.#deps.probation.hold(connection));
    try {
      await relay(
        this.#deps.clock,
        { from: from.hop, throttle: this.#throttle(from.source) },
        { from: to.stop, throttle: this.#throttle(to.target) },
      );
    } finally {
      for (const { peer, origin } of ends) for (const key of [peer, origin]) this.#unthrottle(key);
      for (const release of releases) release();
    }
  }

  /** Asks the reserved peer to take the connection; undefined when it does not. */
  async #stop(source: PeerId, target: OverlayConnection, signal: AbortSignal): Promise<RelayStream | undefined> {
    let stream: Stream | undefined;
    try {
      stream = await target.raw.newStream(STOP_PROTOCOL, {
        signal,
        runOnLimitedConnection: true,
        maxOutboundStreams: MAX_HOP_STREAMS * 4,
      });
      const stop = new RelayStream(stream);
      stop.write(encodeStopConnect(source));
      if (decodeStopStatus(await stop.read(signal)) === RELAY_STATUS.ok) return stop;
      throw new MoatError('PEER_UNREACHABLE', 'refused by the other side');
    } catch (error) {
      this.#deps.logger.debug({ peer: target.peer, code: errorCode(error) }, 'relay target did not answer');
      stream?.abort(error as Error);
      return undefined;
    }
  }

  async #refuse(hop: RelayStream, status: RelayStatus): Promise<void> {
    hop.write(encodeHopStatus(status));
    await hop.stream.close({ signal: AbortSignal.timeout(HOP_MS) });
  }

  #isBusy(source: PeerId, target: PeerId, address: string): boolean {
    return (
      this.#relayed >= this.#limits.relayed ||
      this.#relayedBy.of(source) >= this.#limits.relayedPerPeer ||
      this.#relayedBy.of(target) >= this.#limits.relayedPerPeer ||
      this.#relayedFrom.of(address) >= this.#limits.relayedPerAddress ||
      this.#relayedTo.of(`${address} ${target}`) >= this.#limits.relayedPerPeer / 2
    );
  }

  #throttle({ peer, origin }: OverlayConnection): Throttle {
    const ofPeer = this.#bucket(peer, this.#limits.bytesPerSecondPerPeer);
    const ofAddress = this.#bucket(origin, this.#limits.bytesPerSecondPerAddress);
    return (bytes) => Math.max(ofPeer.take(bytes), ofAddress.take(bytes));
  }

  #bucket(key: string, perSecond: number): TokenBucket {
    const entry = this.#buckets.get(key) ?? { bucket: new TokenBucket(this.#deps.clock, perSecond), users: 0 };
    entry.users += 1;
    this.#buckets.set(key, entry);
    return entry.bucket;
  }

  #unthrottle(key: string): void {
    const entry = this.#buckets.get(key);
    if (entry === undefined) return;
    entry.users -= 1;
    if (entry.users === 0) this.#buckets.delete(key);
  }

  #drop(peer: PeerId): void {
    const reservation = this.#reservations.get(peer);
    if (reservation === undefined) return;
    this.#reservations.delete(peer);
    reservation.timer.cancel();
    reservation.look.cancel();
    reservation.release();
    this.#reservedFrom.remove(reservation.connection.origin);
  }
}
