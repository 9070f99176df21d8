/** The wiring of everything owners do: what the overlay asks, what the API calls, what a change sets off. */
import {
  MoatError,
  errorCode,
  type Clock,
  type DeploymentId,
  type Logger,
  type PeerConnection,
  type PeerId,
  type Signer,
} from '@moat/core';
import type { AddressBook, Overlay, OwnersView } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { Change, Deployments } from '../deployments/deployments.ts';
import type { LocalTime } from '../local-time.ts';
import type { OwnerStore } from '../store/owner-store.ts';
import { Guests } from './guests.ts';
import { MemberReceipts } from './member-receipts.ts';
import { OwnerDesk } from './owner-desk.ts';
import { OwnerDoor, isKeptHere } from './owner-door.ts';
import { OwnerSessions } from './owner-sessions.ts';
import { ProposalBook } from './proposal-book.ts';
import { ProposalExchange } from './proposal-exchange.ts';
import { VersionOrder } from './version-order.ts';

export interface OwnersDeps {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly deployments: Deployments;
  readonly addressBook: AddressBook & { flush(): void };
  readonly store: OwnerStore;
  readonly time: LocalTime & Clock;
  readonly logger: Logger;
  /** Multiaddrs with `/p2p/` of the pinned keepers, as this machine knows them. */
  readonly keepers: (deployment: Deployment) => readonly string[];
  /** Made after this, since it asks the view. */
  readonly overlay: () => Overlay;
}

/** Owners at this machine. */
export interface OwnersAtWork {
  readonly view: OwnersView;
  readonly desk: OwnerDesk;
  readonly sessions: OwnerSessions;
  readonly receipts: MemberReceipts;
  readonly order: VersionOrder;
  readonly guests: Guests;
  /** Takes what is on disk. */
  load(): void;
  /** Goes on with what a crash left undone; once the overlay runs. */
  start(): void;
  /** To call after each change. */
  follow(change: Change): void;
  stop(): void;
}

export function createOwners(deps: OwnersDeps): OwnersAtWork {
  const { self, signer, deployments, addressBook, store, time, logger, keepers } = deps;
  // The overlay is asked only once it runs.
  const overlay: Pick<Overlay, 'dial' | 'connect' | 'connections' | 'showOwner' | 'withdraw' | 'keepers' | 'receipts'> =
    {
      dial: (...args) => deps.overlay().dial(...args),
      connect: (...args) => deps.overlay().connect(...args),
      connections: (peer) => deps.overlay().connections(peer),
      showOwner: (...args) => deps.overlay().showOwner(...args),
      withdraw: (...args) => deps.overlay().withdraw(...args),
      get receipts() {
        return deps.overlay().receipts;
      },
      get keepers() {
        return deps.overlay().keepers;
      },
    };
  const guests = new Guests({ store });
  const door = new OwnerDoor({ self, deployments, time, logger, keepers });
  const sessions = new OwnerSessions({ self, overlay, deployments, addressBook, guests, clock: time, logger });
  const reach = async (deployment: Deployment, keeper: PeerId, signal: AbortSignal): Promise<PeerConnection> => {
    const open = sessions.leadsTo(deployment.id, keeper);
    if (open !== undefined) return open;
    // Without a place and a session no keeper listens to us.
    if (deployment.place === undefined)
      throw new MoatError('PEER_UNREACHABLE', 'no owner session leads to that keeper');
    return overlay.connections(keeper)[0] ?? overlay.connect(keeper, signal);
  };
  const order = new VersionOrder({
    self,
    deployments,
    keepers: { take: (...args) => overlay.keepers.take(...args) },
    reach,
    logger,
  });
  const exchange = new ProposalExchange({ deployments, overlay, logger, book: () => book });
  const book: ProposalBook = new ProposalBook({
    store,
    time,
    logger,
    apply: (deployment, versions, signal) => order.apply(deployment, versions, { signal }),
    onNews: (id, proposal, from) => exchange.spread(id, proposal, from),
  });
  const receipts = new MemberReceipts({ self, signer, deployments, overlay, store, clock: time, logger });
  const stopped = new AbortController();
  const find = (id: DeploymentId): Deployment => {
    const deployment = deployments.get(id);
    if (deployment !== undefined && isKeptHere(deployment)) return deployment;
    throw new MoatError('PROPOSALS_REFUSED', 'this machine does not keep that deployment');
  };
  const followNow = ({ deployment: id, kind }: Change): void => {
    const deployment = deployments.get(id);
    if (deployment === undefined) {
      guests.forget(id);
      book.forget(id);
      receipts.forget(id);
      return;
    }
    if (kind !== 'version') return;
    receipts.review(deployment);
    if (!isKeptHere(deployment)) return book.drop(id);
    book.review(deployment);
    // A change of owners whose seal is signed too goes on by itself.
    void book.resume(deployment, stopped.signal);
    exchange.review(deployment);
  };
  return {
    view: {
      proveOwner: async (signed, from) => door.prove(signed, from),
      isOwner: (id, owner) => door.isOwner(id, owner),
      isFellowKeeper: (id, peer) => {
        const deployment = deployments.get(id);
        return deployment !== undefined && isKeptHere(deployment) && deployment.isKeeper(peer);
      },
      isKeeper: (id, peer) => deployments.get(id)?.isKeeper(peer) === true,
      keeps: (id) => {
        const deployment = deployments.get(id);
        return deployment !== undefined && isKeptHere(deployment);
      },
      snapshot: (id) => door.snapshot(find(id)),
      proposals: (id) => book.list(find(id)),
      proposal: (id, proposal) => book.get(find(id), proposal),
      put: (id, proposal, from, signal) => book.put(find(id), proposal, from, signal),
      take: (id, version, from, signal) => order.takeFrom(find(id), version, from, signal),
      acceptReceipt: (_, receipt) => receipts.accept(receipt),
      receipts: (id) => {
        const deployment = deployments.get(id);
        return deployment === undefined ? [] : receipts.of(deployment);
      },
    },
    desk: new OwnerDesk({ self, overlay, sessions, book }),
    sessions,
    receipts,
    order,
    guests,
    load() {
      guests.load();
      // Before the overlay runs: a keeper may be there at once.
      deps.overlay().onAdmitted((connection) => exchange.meet(connection));
    },
    start() {
      for (const deployment of deployments.list()) {
        if (isKeptHere(deployment)) void book.resume(deployment, stopped.signal);
      }
    },
    follow(change) {
      try {
        followNow(change);
      } catch (error) {
        // The change is on disk, whatever becomes of what follows from it.
        const fields = { component: 'node.owners', deployment: change.deployment, code: errorCode(error), err: error };
        logger.error(fields, 'change not followed');
      }
    },
    stop() {
      stopped.abort(new MoatError('AGENT_STOPPING', 'the agent is going down'));
      exchange.stop();
      sessions.stop();
      receipts.stop();
    },
  };
}
