/**
 * Brings this machine in line with what was accepted: first it takes away what a version no longer allows, in the
 * same turn, then it adds. One deployment's steps run one after another, the newest state last.
 */
import {
  errorCode,
  type DeploymentId,
  type LinkStream,
  type Links,
  type Logger,
  type PeerId,
  type StreamAcceptor,
} from '@moat/core';
import { createNetwork, type ExposedTargets, type PrivateNetwork, type TlsEnds } from '@moat/network';
import type { LinkService } from '@moat/link';
import type { Overlay } from '@moat/overlay';
import type { Deployment } from './deployments/deployment.ts';
import { ExpiryWatch } from './deployments/expiry-watch.ts';
import { stalenessNotice, type Staleness } from './deployments/freshness.ts';
import { FreshnessWatch } from './deployments/freshness-watch.ts';
import type { Change, Deployments } from './deployments/deployments.ts';
import type { EventFeed } from './event-feed.ts';
import type { LocalTime } from './local-time.ts';
import type { MemberReceipts } from './owners/member-receipts.ts';
import type { Publisher } from './publications/publisher.ts';
import { withheldBy } from './publications/withheld.ts';
import type { DeploymentStore } from './store/deployment-store.ts';
import type { Insides } from './wireguard/insides.ts';
import type { Wireguard } from './wireguard/wireguard.ts';

export interface ReconcilerDeps {
  readonly deployments: Deployments;
  readonly overlay: Pick<Overlay, 'viewChanged' | 'announceHead' | 'announceClaim'>;
  readonly links: Links & Pick<LinkService, 'recheck'>;
  readonly publisher: Publisher;
  readonly receipts: Pick<MemberReceipts, 'make' | 'ownOf'>;
  readonly wireguard: Pick<Wireguard, 'follow' | 'attach' | 'detach' | 'inside' | 'addressesOf'>;
  readonly insides: Pick<Insides, 'serveNames'>;
  /** Has streams of packets that a network let in. */
  readonly takePackets: (id: DeploymentId, stream: LinkStream) => void;
  readonly exposed: ExposedTargets;
  /** Certificates for names that gateways pass through. */
  readonly tlsEnds?: TlsEnds | undefined;
  readonly time: LocalTime;
  readonly logger: Logger;
  readonly feed: EventFeed;
  readonly store: Pick<DeploymentStore, 'addReceipt' | 'saveAge'>;
}

export interface ReconcilerOptions {
  /** Open loopback listeners for granted services. */
  readonly loopback: boolean;
}

interface Running {
  readonly network: PrivateNetwork;
  readonly member: string;
  /** Its sockets stand in a namespace, where programs of the machine do not come. */
  readonly isInside: boolean;
}

export class Reconciler {
  readonly #deps: ReconcilerDeps;
  readonly #options: ReconcilerOptions;
  readonly #running = new Map<DeploymentId, Running>();
  readonly #queues = new Map<DeploymentId, Promise<void>>();
  readonly #expiries: ExpiryWatch;
  readonly #freshness: FreshnessWatch;
  readonly #stopped = new AbortController();

  constructor(deps: ReconcilerDeps, options: ReconcilerOptions) {
    this.#deps = deps;
    this.#options = options;
    const { time, deployments } = deps;
    this.#expiries = new ExpiryWatch({
      time,
      onDue: (id) => {
        const deployment = deployments.get(id);
        if (deployment !== undefined) deployments.refresh(deployment);
      },
    });
    this.#freshness = new FreshnessWatch({
      time,
      logger: deps.logger,
      store: deps.store,
      deployments: () => deployments.list(),
      onTurn: (deployment, before, now) => this.#turned(deployment, before, now),
    });
  }

  /**
   * Starts every deployment that is on disk; resolves when all of them serve. A crash may have come between a version
   * and the word about it.
   */
  async start(): Promise<void> {
    const { deployments, receipts } = this.#deps;
    await Promise.all(
      deployments.list().map(({ id, head }) => {
        const isTold = receipts.ownOf(id)?.head === head;
        return this.#apply(id, !isTold);
      }),
    );
  }

  /** Follows a change that is on disk; resolves when it is in force. Never throws: the change is accepted already. */
  follow(change: Change): Promise<void> {
    if (this.#stopped.signal.aborted) return Promise.resolve();
    const { deployment: id, kind } = change;
    try {
      this.#followNow(change);
    } catch (error) {
      this.#deps.logger.error(
        { component: 'node.reconcile', deployment: id, code: errorCode(error), err: error },
        'change not followed',
      );
    }
    return this.#apply(id, kind === 'version');
  }

  /** A peer holds the head that we hold. */
  confirmed(deployment: Deployment, peer: PeerId): void {
    this.#freshness.confirmed(deployment, peer);
  }

  /** Resolves when every change so far is in force. */
  async settled(id: DeploymentId): Promise<void> {
    await this.#queues.get(id);
  }

  /** The operator exposed something or took it back: streams are judged again, and the owners hear of it. */
  consentChanged(): void {
    for (const network of this.networks()) network.review();
    for (const deployment of this.#deps.deployments.list()) {
      const told = this.#deps.receipts.ownOf(deployment.id);
      if (told === undefined || told.head !== deployment.head) continue;
      if (told.code !== null && told.code !== 'NOT_PUBLIC') continue;
      const isWithheld = withheldBy(deployment, this.#deps.exposed).length > 0;
      if (isWithheld !== (told.code === 'NOT_PUBLIC')) {
        this.#tellMembers(deployment, deployment.contract.version, deployment.head, null);
      }
    }
  }

  network(id: DeploymentId): PrivateNetwork | undefined {
    return this.#running.get(id)?.network;
  }

  networks(): readonly PrivateNetwork[] {
    return [...this.#running.values()].map(({ network }) => network);
  }

  /** Those that stand where the agent runs: whose names its programs may know. */
  networksHere(): readonly PrivateNetwork[] {
    return [...this.#running.values()].flatMap(({ network, isInside }) => (isInside ? [] : network));
  }

  /** Where the network's sockets stand changed: it ends, and begins anew there. */
  restand(id: DeploymentId): Promise<void> {
    const before = this.#queues.get(id) ?? Promise.resolve();
    this.#queues.set(
      id,
      before.then(() => this.#stopNetwork(id)),
    );
    return this.#apply(id, false);
  }

  /** Hands a stream to its deployment's network. A stranger cannot tell a deployment we lack from one it is not in. */
  readonly accept: StreamAcceptor = (stream) => {
    const network = this.#running.get(stream.request.deployment)?.network;
    if (network === undefined) stream.reset('GRANT_DENIED');
    else network.accept(stream);
  };

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#expiries.stop();
    this.#freshness.stop();
    await Promise.allSettled(this.#queues.values());
    await Promise.allSettled(this.networks().map((network) => network.stop()));
    this.#running.clear();
  }

  /** What cannot wait: in the turn of the commit everything that is no longer allowed ends, and the news leaves. */
  #followNow({ deployment: id, kind, claims = [], from }: Change): void {
    const { overlay, links, publisher, deployments } = this.#deps;
    const deployment = deployments.get(id);
    links.recheck();
    const running = this.#running.get(id);
    // Streams end before this returns; listeners are awaited, and failures reported, by the step that follows.
    if (running !== undefined && deployment?.place?.name === running.member) {
      running.network.update(deployment.view).catch(() => undefined);
      this.#deps.wireguard.follow(id);
    } else if (running !== undefined) {
      const [before, ended] = [this.#queues.get(id), this.#end(id)];
      this.#queues.set(
        id,
        Promise.all([before, ended]).then(() => undefined),
      );
    }
    if (kind === 'forgotten') publisher.forget(id);
    overlay.viewChanged();
    if (from !== undefined) return;
    if (kind === 'version') overlay.announceHead(id);
    for (const claim of claims) overlay.announceClaim(claim);
  }

  #turned(deployment: Deployment, before: Staleness, now: Staleness): void {
    const { feed, logger } = this.#deps;
    const { id } = deployment;
    logger.info({ component: 'node.freshness', deployment: id, state: now }, 'age of the newest version changed');
    const [ended, begun] = [stalenessNotice(before), stalenessNotice(now)];
    if (ended !== undefined) feed.emit({ kind: 'alarm', deployment: id, alarm: ended, ended: true });
    if (begun !== undefined) feed.emit({ kind: 'alarm', deployment: id, alarm: begun });
    // What may run changes only at the far edge.
    if (before === 'stale' || now === 'stale') void this.follow({ deployment: id, kind: 'freshness' });
  }

  #apply(id: DeploymentId, isVersion: boolean): Promise<void> {
    const before = this.#queues.get(id) ?? Promise.resolve();
    // A step that fails, even in saying so, stops neither the next one nor the agent.
    const step = before
      .then(() => this.#step(id, isVersion))
      .catch((error: unknown) => {
        const fields = { component: 'node.reconcile', deployment: id, code: errorCode(error), err: error };
        this.#deps.logger.error(fields, 'change not followed');
      });
    this.#queues.set(id, step);
    return step;
  }

  async #step(id: DeploymentId, isVersion: boolean): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    const deployment = this.#deps.deployments.get(id);
    if (deployment === undefined) {
      this.#expiries.forget(id);
      this.#freshness.forget(id);
      return this.#end(id);
    }
    this.#expiries.watch(deployment);
    this.#freshness.watch(deployment);
    const { version } = deployment.contract;
    const { head } = deployment;
    try {
      await this.#attach(deployment);
      this.#deps.publisher.update(deployment);
      if (isVersion) this.#receipt(id, version, head, null);
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      this.#deps.logger.error(
        { component: 'node.reconcile', deployment: id, version, code: errorCode(error), err: error },
        'version not applied',
      );
      this.#receipt(id, version, head, error);
    }
  }

  async #attach(deployment: Deployment): Promise<void> {
    const { id, place, view } = deployment;
    const running = this.#running.get(id);
    const member = view.contract.state === 'active' ? place?.name : undefined;
    if (running !== undefined && running.member !== member) await this.#end(id);
    if (member === undefined) {
      // The place may have been lost while no agent ran, or one that ended before it followed.
      void this.#deps.wireguard.attach(deployment);
      return;
    }
    const network = this.#running.get(id)?.network ?? (await this.#begin(deployment, member));
    await network.update(view);
    // Not waited for: an interface that cannot be had keeps no version from being in force.
    void this.#deps.wireguard.attach(deployment);
  }

  async #begin(deployment: Deployment, member: string): Promise<PrivateNetwork> {
    const { id } = deployment;
    const { links, logger, time, exposed, tlsEnds, takePackets, wireguard } = this.#deps;
    const { sockets, refusal: lost } = await wireguard.inside(id);
    const isInside = sockets !== undefined || lost !== undefined;
    const network = createNetwork(
      { links, logger: logger.child({ deployment: id, member }), clock: time, tlsEnds },
      {
        self: member,
        deployment: id,
        exposed,
        // Inside, only who was let into the namespace comes by.
        loopback: isInside ? lost === undefined : this.#options.loopback,
        inside: sockets,
        planeAddresses: (service) => wireguard.addressesOf(id, service),
        takePackets: (stream) => takePackets(id, stream),
        refusal: () => lost ?? (deployment.staleness(time.now()) === 'stale' ? 'STALE' : undefined),
      },
    );
    await network.start({ signal: this.#stopped.signal });
    this.#running.set(id, { network, member, isInside });
    if (sockets !== undefined) await this.#deps.insides.serveNames(id, network);
    return network;
  }

  async #end(id: DeploymentId): Promise<void> {
    await Promise.all([this.#stopNetwork(id), this.#deps.wireguard.detach(id)]);
  }

  async #stopNetwork(id: DeploymentId): Promise<void> {
    const running = this.#running.get(id);
    this.#running.delete(id);
    try {
      await running?.network.stop();
    } catch (error) {
      const fields = { component: 'node.reconcile', deployment: id, code: errorCode(error), err: error };
      this.#deps.logger.error(fields, 'network not stopped in order');
    }
  }

  /** A version is in force whole only where the operator consents to what it publishes: the owners see where not. */
  #tellMembers(deployment: Deployment, version: number, head: string, failure: string | null): void {
    const withheld = withheldBy(deployment, this.#deps.exposed).length > 0 ? 'NOT_PUBLIC' : null;
    const code = failure ?? withheld;
    this.#deps.receipts.make(deployment, version, head, code);
  }

  #receipt(id: DeploymentId, version: number, head: string, error: unknown): void {
    const { store, time, feed, logger } = this.#deps;
    const failure =
      error === null ? null : { code: errorCode(error), message: error instanceof Error ? error.message : '' };
    const result = failure === null ? 'applied' : 'failed';
    feed.emit({ kind: 'version', deployment: id, version, result, error: failure });
    const deployment = this.#deps.deployments.get(id);
    if (deployment !== undefined) this.#tellMembers(deployment, version, head, failure?.code ?? null);
    const { code, message } = failure ?? { code: null, message: null };
    store.addReceipt(id, { version, head, result, code, message, time: time.now() }, (cause) =>
      logger.warn(
        { component: 'node.reconcile', deployment: id, version, code: errorCode(cause), err: cause },
        'receipt not saved',
      ),
    );
  }
}
