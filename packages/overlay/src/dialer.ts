/**
 * Reaches a peer by whatever leads to it: addresses the caller knows, the address book, the local network,
 * then its anchors. Attempts start {@link STAGGER_MS} apart, relayed ones {@link RELAY_AFTER_MS} later, and the
 * first that stands wins.
 */
import { MoatError, errorCode, type Clock, type Logger, type PeerId } from '@moat/core';
import { peerIdOfMultiaddr } from '@moat/contract';
import type { Connection } from '@libp2p/interface';
import type { AddressBook } from './address-book.ts';
import type { OverlayConnection } from './connection.ts';
import { Deadline, raced } from './deadline.ts';
import type { DeploymentView } from './deployment-view.ts';
import { withoutPeer } from './host.ts';
import { isLoopback } from './learning.ts';
import type { Neighbours } from './neighbours.ts';
import type { Probation } from './probation.ts';
import { spread } from './spread.ts';

const STAGGER_MS = 200;
const RELAY_AFTER_MS = 800;
/** Milliseconds without an answer after which the path to the anchor is looked at. */
const SILENCE_MS = 1000;
/** Addresses of one peer that are tried, and anchors. */
const MAX_DIRECT = 8;
const MAX_RELAYED = 4;
/** Peers whose failed dials are remembered. */
const MAX_REMEMBERED = 512;
/** Peers dialed at once; more are refused as unreachable, the supervisor comes back. */
const MAX_DIALS = 128;

export interface DialerDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly self: PeerId;
  readonly probation: Probation;
  readonly deployments: DeploymentView;
  readonly addressBook: AddressBook;
  readonly neighbours: Neighbours;
  /** True for a host inside a private network of ours: never dialed. */
  readonly isInside: (host: string) => boolean;
  readonly dial: (address: string, signal: AbortSignal) => Promise<Connection>;
  /** A dial through this connection to an anchor got no answer yet: the path to the anchor may be dead. */
  readonly onSilence: (anchor: OverlayConnection) => void;
}

/** One direct dial that led nowhere. */
export interface DialFailure {
  /** `host:port`. */
  readonly address: string;
  readonly reason: 'refused' | 'timed out' | 'no route' | 'failed';
}

interface Attempt {
  readonly address: string;
  readonly delayMs: number;
}

export class Dialer {
  readonly #deps: DialerDeps;
  readonly #dialMs: number;
  readonly #running = new Map<PeerId, Promise<OverlayConnection>>();
  readonly #extra = new Map<PeerId, readonly string[]>();
  /** By peer and address. Bound: {@link MAX_REMEMBERED} peers, the one dialed least recently is forgotten. */
  readonly #failures = new Map<PeerId, Map<string, DialFailure>>();

  constructor(deps: DialerDeps, options: { readonly dialMs: number }) {
    this.#deps = deps;
    this.#dialMs = options.dialMs;
  }

  /** Open connections past probation, direct ones first. */
  connections(peer?: PeerId): OverlayConnection[] {
    const { probation } = this.#deps;
    return (peer === undefined ? probation.all() : probation.ofPeer(peer))
      .filter(({ admitted, closed }) => admitted && !closed.aborted)
      .sort((a, b) => Number(a.relayed) - Number(b.relayed));
  }

  /** Addresses of a peer that its owner wants to be reached, tried before all others. */
  prefer(peer: PeerId, addresses: readonly string[]): () => void {
    this.#extra.set(peer, addresses);
    return () => this.#extra.delete(peer);
  }

  /**
   * A connection to `peer` on which hello is done; with a peer that shares a deployment it is admitted too.
   * @throws `PEER_UNREACHABLE`, or the signal's reason.
   */
  async connect(peer: PeerId, signal: AbortSignal): Promise<OverlayConnection> {
    const [open] = this.connections(peer);
    if (open !== undefined) return open;
    return this.#reach(peer, [], signal);
  }

  /** What the last direct dial of each address of a peer came to, where none worked. */
  failures(peer: PeerId): readonly DialFailure[] {
    return [...(this.#failures.get(peer)?.values() ?? [])];
  }

  /** Tries for a direct connection to a peer that is reached through an anchor. Never rejects. */
  async improve(peer: PeerId): Promise<void> {
    if (this.#running.has(peer)) return;
    const direct = this.#attempts(peer, []).filter(({ address }) => !isRelayed(address));
    if (direct.length === 0) return;
    try {
      await this.#start(peer, direct);
    } catch (error) {
      this.#deps.logger.debug({ peer, err: error }, 'no direct path');
    }
  }

  /** The same over addresses of one peer, before all others. @throws also `ADDRESS_INVALID` */
  async dial(addresses: readonly string[], signal: AbortSignal): Promise<OverlayConnection> {
    const peers = new Set(addresses.map(peerIdOfMultiaddr));
    const [peer] = peers;
    if (peer === undefined || peers.size > 1) {
      throw new MoatError('ADDRESS_INVALID', 'addresses of exactly one peer are needed', {
        details: { addresses: addresses.slice(0, 8) },
      });
    }
    const open = [...this.connections(peer), ...this.#deps.probation.ofPeer(peer)].find(
      ({ relayed }) => !relayed || addresses.every(isRelayed),
    );
    if (open !== undefined) return this.#greeted(open, signal);
    return this.#reach(peer, addresses, signal);
  }

  async #reach(peer: PeerId, addresses: readonly string[], signal: AbortSignal): Promise<OverlayConnection> {
    if (peer === this.#deps.self) throw unreachable(peer, 'it is this machine');
    const running = this.#running.get(peer) ?? this.#start(peer, this.#attempts(peer, addresses));
    return this.#greeted(await raced(running, signal), signal);
  }

  #start(peer: PeerId, attempts: readonly Attempt[]): Promise<OverlayConnection> {
    if (this.#running.size >= MAX_DIALS) throw unreachable(peer, 'too many dials at once');
    const running = this.#race(peer, attempts).finally(() => this.#running.delete(peer));
    running.catch(() => undefined);
    this.#running.set(peer, running);
    return running;
  }

  #attempts(peer: PeerId, addresses: readonly string[]): Attempt[] {
    const { addressBook, neighbours } = this.#deps;
    const known = [
      ...addresses,
      ...(this.#extra.get(peer) ?? []),
      ...addressBook.known(peer),
      ...neighbours.known(peer),
    ];
    const all = [...new Set(known.map((address) => `${withoutPeer(address)}/p2p/${peer}`))];
    // A machine far away says its loopback too, which leads to ourselves.
    const direct = all
      .filter((address) => !isRelayed(address) && !this.#deps.isInside(address.split('/')[2] ?? ''))
      .sort((a, b) => Number(isLoopback(a)) - Number(isLoopback(b)))
      .slice(0, MAX_DIRECT);
    const relayed = [...new Set([...all.filter(isRelayed), ...this.#circuits(peer)])].slice(0, MAX_RELAYED);
    return [
      ...direct.map((address, i) => ({ address, delayMs: i * STAGGER_MS })),
      ...relayed.map((address, i) => ({ address, delayMs: (direct.length > 0 ? RELAY_AFTER_MS : 0) + i * STAGGER_MS })),
    ];
  }

  /** Through the anchors of every deployment shared with the peer, one address each. */
  #circuits(peer: PeerId): string[] {
    const { deployments, self } = this.#deps;
    const addresses = new Map<PeerId, string>();
    for (const deployment of deployments.sharedWith(peer)) {
      for (const anchor of deployments.anchors(deployment)) {
        const id = peerIdOfMultiaddr(anchor);
        if (id !== peer && id !== self && !addresses.has(id)) addresses.set(id, circuitAddress(anchor, peer));
      }
    }
    // Of many anchors only some are tried, so those first at which the peer wants to be.
    return spread(peer, [...addresses.keys()]).flatMap((id) => addresses.get(id) ?? []);
  }

  async #race(peer: PeerId, attempts: readonly Attempt[]): Promise<OverlayConnection> {
    if (attempts.length === 0) throw unreachable(peer, 'no address, neighbour or anchor is known');
    const { clock, dial, logger, probation } = this.#deps;
    using deadline = new Deadline(clock, this.#dialMs);
    const won = new AbortController();
    let stands = false;
    const waiting: (() => void)[] = [];
    const tries = attempts.map(async ({ address, delayMs }) => {
      if (delayMs > 0) await turn(clock, delayMs, waiting, won.signal);
      using attempt = new Deadline(clock, this.#dialMs, won.signal);
      const silence = clock.after(SILENCE_MS, () => this.#doubtAnchor(address));
      try {
        const connection = probation.of(await dial(address, attempt.signal));
        if (won.signal.aborted) {
          probation.close(connection, 'another path was faster');
          throw new Error('another path was faster');
        }
        if (!isRelayed(address)) this.#failures.delete(peer);
        return connection;
      } catch (error) {
        logger.debug({ peer, address, err: error }, 'dial failed');
        if (!stands && !isRelayed(address)) this.#remember(peer, address, error);
        waiting.shift()?.();
        throw error;
      } finally {
        silence.cancel();
      }
    });
    try {
      const connection = await raced(Promise.any(tries), deadline.signal);
      stands = true;
      return connection;
    } catch (cause) {
      won.abort(deadline.signal.reason);
      throw unreachable(peer, 'no path leads to it', cause);
    } finally {
      won.abort(new Error('another path was faster'));
      for (const attempt of tries) attempt.catch(() => undefined);
    }
  }

  /** libp2p dials through the oldest connection to an anchor, alive or not, and a dial that waits there tells nobody. */
  #doubtAnchor(address: string): void {
    if (!isRelayed(address)) return;
    const anchor = peerIdOfMultiaddr(address.slice(0, address.indexOf('/p2p-circuit')));
    for (const connection of this.#deps.probation.ofPeer(anchor)) {
      if (!connection.relayed) this.#deps.onSilence(connection);
    }
  }

  #remember(peer: PeerId, address: string, error: unknown): void {
    const failures = this.#failures.get(peer) ?? new Map<string, DialFailure>();
    const [, , host = '', , port = ''] = address.split('/');
    const shown = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    failures.set(shown, { address: shown, reason: reasonOf(error) });
    for (const oldest of failures.keys()) if (failures.size > MAX_DIRECT) failures.delete(oldest);
    this.#failures.delete(peer);
    this.#failures.set(peer, failures);
    for (const oldest of this.#failures.keys()) if (this.#failures.size > MAX_REMEMBERED) this.#failures.delete(oldest);
  }

  /** Waits for hello, and for admission where the peer is one of ours. */
  async #greeted(connection: OverlayConnection, signal: AbortSignal): Promise<OverlayConnection> {
    await raced(connection.greeted.promise, signal);
    const expected = this.#deps.deployments.sharedWith(connection.peer).length > 0;
    if (expected && !connection.admitted && !connection.closed.aborted) await this.#admission(connection, signal);
    if (connection.closed.aborted) throw unreachable(connection.peer, 'it closed the connection');
    return connection;
  }

  async #admission(connection: OverlayConnection, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const unsubscribe = this.#deps.probation.onAdmitted((admitted) => {
      if (admitted === connection) resolve();
    });
    const onClosed = (): void => resolve();
    connection.closed.addEventListener('abort', onClosed);
    try {
      await raced(promise, signal);
    } finally {
      unsubscribe();
      connection.closed.removeEventListener('abort', onClosed);
    }
  }
}

/** `/…/p2p/<anchor>/p2p-circuit/p2p/<peer>` */
export function circuitAddress(anchor: string, peer: PeerId): string {
  return `${anchor}/p2p-circuit/p2p/${peer}`;
}

/** What the system said, somewhere among the causes; our own deadline and libp2p's are both aborts. */
function reasonOf(error: unknown): DialFailure['reason'] {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 4; cause = cause.cause, depth++) {
    const code = errorCode(cause);
    if (code === 'ECONNREFUSED') return 'refused';
    if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'EADDRNOTAVAIL') return 'no route';
    if (code === 'ETIMEDOUT' || code === 'DEADLINE_PASSED' || /Abort|Timeout/.test(cause.name)) return 'timed out';
  }
  return 'failed';
}

function isRelayed(address: string): boolean {
  return address.includes('/p2p-circuit');
}

/** Waits `delayMs`, or less when an attempt before has failed and so passes its turn on. */
async function turn(clock: Clock, delayMs: number, waiting: (() => void)[], over: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  waiting.push(resolve);
  const timer = clock.after(delayMs, resolve);
  try {
    await raced(promise, over);
  } finally {
    timer.cancel();
    const at = waiting.indexOf(resolve);
    if (at >= 0) waiting.splice(at, 1);
  }
}

function unreachable(peer: PeerId, reason: string, cause?: unknown): MoatError<'PEER_UNREACHABLE'> {
  return new MoatError('PEER_UNREACHABLE', `cannot reach ${peer}: ${reason}`, {
    details: { peer },
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}
