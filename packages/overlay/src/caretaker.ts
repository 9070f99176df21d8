/** What happens at each turn in a connection's life: it opens, is admitted, answers, closes; a neighbour is heard. */
import type { Clock, Logger, PeerId } from '@moat/core';
import type { Connection, IdentifyResult } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import type { AddressBook } from './address-book.ts';
import type { Anchor } from './anchor.ts';
import type { Callbacks } from './callbacks.ts';
import { hasMoatIdentity, type OverlayConnection } from './connection.ts';
import { Deadline } from './deadline.ts';
import type { DeploymentView } from './deployment-view.ts';
import type { Dialer } from './dialer.ts';
import type { Heads } from './heads.ts';
import type { Hello } from './hello.ts';
import { PING_PROTOCOL, type Host } from './host.ts';
import type { Keepalive } from './keepalive.ts';
import { learnedAddresses } from './learning.ts';
import type { Neighbours } from './neighbours.ts';
import type { Probation } from './probation.ts';
import type { Reservations } from './reservations.ts';
import type { Supervisor } from './supervisor.ts';

const IDENTIFY_MS = 5000;

export interface CaretakerDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly self: PeerId;
  readonly deployments: DeploymentView;
  readonly addressBook: AddressBook;
  readonly neighbours: Neighbours;
  readonly probation: Probation;
  readonly callbacks: Callbacks;
  readonly hello: Hello;
  readonly heads: Heads;
  readonly dialer: Dialer;
  readonly supervisor: Supervisor;
  readonly reservations: Reservations;
  readonly keepalive: Keepalive;
  readonly anchor: Anchor | undefined;
  /** True for a host inside a private network of ours. */
  readonly isInside: (host: string) => boolean;
  /** Undefined while the overlay is stopped. */
  readonly libp2p: () => Host['libp2p'] | undefined;
}

export class Caretaker {
  readonly #deps: CaretakerDeps;
  readonly #compareMs: number;
  readonly #comparedAt = new WeakMap<OverlayConnection, number>();

  constructor(deps: CaretakerDeps, options: { readonly compareMs: number }) {
    this.#deps = deps;
    this.#compareMs = options.compareMs;
  }

  onConnection(raw: Connection): void {
    const { probation, keepalive, hello } = this.#deps;
    const connection = probation.of(raw);
    if (!hasMoatIdentity(raw)) return probation.close(connection, 'not an Ed25519 identity');
    keepalive.watch(connection);
    // the side that dialed says hello first; both lists cross on one stream
    if (connection.direction === 'outbound') void hello.greet(connection);
  }

  /** Identify runs now, not before: it would tell a stranger our addresses and protocols. Never rejects. */
  async onAdmitted(connection: OverlayConnection): Promise<void> {
    const { clock, hello, logger, probation } = this.#deps;
    const libp2p = this.#deps.libp2p();
    if (libp2p === undefined || hello.shared(connection).length === 0) return;
    try {
      using deadline = new Deadline(clock, IDENTIFY_MS, connection.closed);
      // what it says comes by onIdentified
      await libp2p.services.identify.identify(connection.raw, { signal: deadline.signal });
      for (const each of probation.ofPeer(connection.peer)) this.#improve(each);
      await libp2p.peerStore.merge(peerIdFromString(connection.peer), { tags: { moat: { value: 100 } } });
    } catch (error) {
      logger.debug({ peer: connection.peer, err: error }, 'addresses not learned');
    }
  }

  /** A peer told its addresses, because we asked or because they changed. */
  onIdentified({ connection: raw, listenAddrs }: IdentifyResult): void {
    const { addressBook, hello, isInside, probation } = this.#deps;
    const connection = probation.get(raw.id);
    if (connection === undefined || !connection.admitted || hello.shared(connection).length === 0) return;
    addressBook.learn(connection.peer, learnedAddresses(connection, { listenAddrs }, isInside));
  }

  /** This machine is somewhere else than before: what failed there may work here, and what stood there may be dead. */
  onMoved(isElsewhere: boolean): void {
    const { deployments, keepalive, logger, probation, supervisor } = this.#deps;
    logger.info({ count: deployments.deployments().length }, 'addresses of this machine changed');
    for (const connection of probation.all()) {
      // nobody answers on an address that is gone: asking would take seconds
      if (isElsewhere && !isLocal(connection)) probation.close(connection, 'this machine is elsewhere');
      else void keepalive.check(connection);
    }
    for (const id of deployments.deployments()) {
      for (const { peer } of deployments.members(id)) supervisor.forgive(peer);
    }
  }

  /** The peer answered a keepalive of ours. */
  onAlive(connection: OverlayConnection): void {
    this.#improve(connection);
    const now = this.#deps.clock.now();
    if (Math.abs(now - (this.#comparedAt.get(connection) ?? 0)) < this.#compareMs) return;
    this.#comparedAt.set(connection, now);
    for (const deployment of this.#deps.hello.shared(connection)) void this.#deps.heads.compare(connection, deployment);
  }

  onClosed(connection: OverlayConnection): void {
    const { anchor, callbacks, heads, keepalive, probation, reservations, supervisor } = this.#deps;
    keepalive.forget(connection);
    heads.forget(connection);
    anchor?.forget(connection);
    reservations.forget(connection);
    const gone = probation.ofPeer(connection.peer).length === 0;
    if (gone) callbacks.lost(connection.peer);
    supervisor.wake();
    // strangers must not fill libp2p's peer store
    if (gone)
      this.#deps
        .libp2p()
        ?.peerStore.delete(peerIdFromString(connection.peer))
        .catch(() => undefined);
  }

  onNeighbour(peer: PeerId, addresses: readonly string[]): void {
    const { deployments, neighbours, self, supervisor } = this.#deps;
    if (peer === self) return;
    neighbours.heard(peer, addresses);
    if (deployments.sharedWith(peer).length > 0) supervisor.forgive(peer);
  }

  /**
   * Once a direct path stands, an idle relayed one is given back; until then a direct path is tried for. Of two relayed
   * ones, as they come about when both sides dial at once, that of the greater PeerId is given back.
   */
  #improve(connection: OverlayConnection): void {
    const { dialer, probation, self } = this.#deps;
    const { peer } = connection;
    if (!connection.relayed || connection.direction !== 'outbound' || connection.closed.aborted) return;
    const others = dialer.connections(peer);
    const isIdle = connection.raw.streams.every(({ protocol }) => protocol === PING_PROTOCOL);
    if (others[0]?.relayed === false) {
      if (isIdle) probation.close(connection, 'a direct path took over');
      return;
    }
    if (isIdle && self > peer && others.some(({ direction, admitted }) => direction === 'inbound' && admitted))
      return probation.close(connection, 'the other side dialed too');
    void dialer.improve(peer);
  }
}

/** With a program of this machine. */
function isLocal({ remote }: OverlayConnection): boolean {
  return remote !== null && (remote.host.startsWith('127.') || remote.host === '::1');
}
