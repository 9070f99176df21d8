/**
 * Members dial in, prove what they publish, and become upstreams. Everything that changes what is served goes
 * through here: bundle → allowed → judged → names claimed → on disk → ledger → routes.
 * Bounds: per address so many bundles (one with many signatures counts as several), new deployments, names and wrong codes an hour; per deployment so many names
 * and members; so many names and deployments in all. What is above is refused with its code and drops nothing; a
 * deployment that holds no name is forgotten {@link FORGOTTEN_AFTER_MS} after it was last heard of.
 */
import {
  addressKey,
  errorCode,
  isMoatError,
  type Clock,
  type DeploymentId,
  type Logger,
  type PeerConnection,
  type PeerId,
  type Timer,
} from '@moat/core';
import { deploymentIdOf, type PublicationBundle } from '@moat/contract';
import type { PublishAnswer, Redemption } from '@moat/overlay';
import type { GatewayLimits } from '../config.ts';
import type { AuditEvent } from '../audit/chain.ts';
import { refusal } from '../errors.ts';
import { portOfKey } from '../names/port.ts';
import type { ProofDesk } from '../names/proof-desk.ts';
import type { NameRegistry } from '../names/registry.ts';
import type { DeploymentRoutes, RouteSpec, Routes } from '../routes/snapshot.ts';
import type { DeploymentRecord, GatewayStore, NameGrantRecord, NameRecord, PublisherRecord } from '../store/store.ts';
import { claimedNames, releasedNames } from './audit-names.ts';
import { claimNames } from './claim-names.ts';
import type { EdgeRules } from './edge-rules.ts';
import { IntakeQuotas } from './intake-quotas.ts';
import type { Dropped, Ledger } from './ledger.ts';
import type { PublisherBook } from './publisher-book.ts';
import type { SuspensionBook } from './suspensions.ts';
import { isSame, judgeBundle } from './verify.ts';

export interface IntakeDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: GatewayStore;
  readonly registry: NameRegistry;
  readonly ledger: Ledger;
  readonly publishers: PublisherBook;
  readonly suspensions: Pick<SuspensionBook, 'of'>;
  readonly edgeRules: EdgeRules;
  readonly proofs: Pick<ProofDesk, 'settled'>;
  readonly routes: Routes;
  /** True while the peer is connected in any way. */
  isConnected(peer: PeerId): boolean;
  /** Hosts that led somewhere and do not any more. */
  onWithdrawn(hosts: readonly string[]): void;
  /** Peers that are no upstreams of these deployments any more: their links and connections have lost that reason. */
  onDropped(dropped: readonly Dropped[]): void;
  /** Upstreams that have to show what they have anew, to hear what was decided about it. */
  onNews(peers: readonly PeerId[]): void;
}

export interface IntakeOptions {
  /** The gateway's own PeerId. */
  readonly gateway: PeerId;
  readonly limits: Pick<
    GatewayLimits,
    'membersPerDeployment' | 'deployments' | 'newDeploymentsPerHour' | 'newNamesPerHour' | 'bundlesPerHour'
  >;
  /** People read a page before they come in to a publisher whom the operator does not know. @defaultValue false */
  readonly warnsOfStrangers?: boolean;
  /** Public address of a host. */
  urlOf(host: string): string;
}

/** What was forgotten of a deployment. */
export interface Forgotten {
  /** Version of the head that was pinned; null = none was. */
  readonly version: number | null;
  /** Names it holds, as before. */
  readonly held: number;
}

/** What becomes of names without a bundle. */
export interface NameChange {
  readonly names?: readonly NameRecord[];
  readonly released?: readonly NameRecord[];
  readonly grants?: readonly NameGrantRecord[];
  readonly audit: readonly AuditEvent[];
}

/** What else changed together with routes. */
interface Refresh {
  readonly dropped?: readonly Dropped[];
  readonly held?: readonly string[];
  readonly released?: readonly string[];
  /** Waits for the answer to what it shows; the overlay ends its admission after it. */
  readonly presenter?: PeerId;
}

/** A quarter: longer than any lease. */
const FORGOTTEN_AFTER_MS = 90 * 24 * 3_600_000;
/** Timers take no longer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class Intake {
  readonly #deps: IntakeDeps;
  readonly #options: IntakeOptions;
  /** Hosts whose first answer could not be written; tried again by the sweep, not by every request. */
  readonly #unkept = new Set<string>();
  readonly #quotas: IntakeQuotas;
  /** Each fires when the next membership of an upstream of the deployment ends. */
  readonly #endings = new Map<DeploymentId, Timer>();

  constructor(deps: IntakeDeps, options: IntakeOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#quotas = new IntakeQuotas(deps, options);
  }

  /** The gateway's side of `/moat/publish/1`. Never rejects for what a peer may send. */
  publish(peer: PeerId, connection: PeerConnection, bundle: PublicationBundle): Promise<PublishAnswer> {
    const origin = originOf(connection);
    return this.#answered(peer, 'publication refused', async () => {
      // Before anything is verified: a forged proof costs as much as a true one.
      this.#quotas.takeBundle(origin, bundle);
      const answer = this.#accept(peer, origin, bundle);
      // What the DNS says about a new host comes in a moment; meanwhile anything may have changed.
      const isLookedUp = await this.#deps.proofs.settled(deploymentIdOf(bundle.proof.genesis));
      return isLookedUp ? this.#accept(peer, origin, bundle) : answer;
    });
  }

  /** Spends an operator's code on a deployment. Never rejects for what a peer may send. */
  redeem(peer: PeerId, connection: PeerConnection, { deployment, code }: Redemption): Promise<PublishAnswer> {
    return this.#answered(peer, 'invite code refused', () => {
      const { logger, publishers } = this.#deps;
      const origin = originOf(connection);
      this.#quotas.requireGuess(origin);
      try {
        publishers.redeem(deployment, code, peer);
      } catch (error) {
        if (isMoatError(error, 'CODE_INVALID')) this.#quotas.takeGuess(origin);
        throw error;
      }
      logger.info({ component: 'gateway.intake', peer, deployment }, 'invite code taken');
      return { ok: true, names: [], refused: [] };
    });
  }

  /** What the operator decides, at once: a denied deployment's routes go and its members lose their links. */
  decide(deployment: DeploymentId, rule: PublisherRecord['rule'], names: number | null): PublisherRecord {
    const { ledger, publishers, logger } = this.#deps;
    const record = publishers.decide(deployment, rule, names);
    logger.info(
      { component: 'gateway.intake', deployment },
      rule === 'allow' ? 'publisher allowed' : 'publisher denied',
    );
    if (!publishers.mayPublish(deployment)) this.#refresh([deployment], { dropped: ledger.dropAll(deployment) });
    return record;
  }

  /** What the operator says of a name or a deployment is another thing now: it counts at once, and members hear of it. */
  recheck(subject: string): void {
    const { ledger, publishers, registry } = this.#deps;
    const deployment = registry.get(subject)?.deployment ?? subject;
    const dropped = publishers.mayPublish(deployment) ? [] : ledger.dropAll(deployment);
    this.#refresh([deployment], { dropped });
    this.#deps.onNews([...ledger.upstreams(deployment)]);
  }

  /**
   * Forgets what a deployment has shown, at once: its pin, its publications, who serves it. The next bundle pins anew.
   * What was decided about it stays, and its names stay held for it, for a whole lease from now on.
   * @throws what the store throws; nothing has changed then
   */
  forget(deployment: DeploymentId): Forgotten {
    const { clock, ledger, logger, registry, store } = this.#deps;
    const held = registry.list().filter((name) => name.deployment === deployment);
    const record = ledger.get(deployment);
    if (record === undefined) return { version: null, held: held.length };
    // The time of a live name is written now and then only: without its members the lease counts from there.
    const live = held.filter(({ host }) => this.isLive(host)).map((name) => ({ ...name, lastLiveMs: clock.now() }));
    const { version } = record.proof.newest.head;
    const event: AuditEvent = {
      action: 'publisher.forgotten',
      actor: 'operator',
      subject: deployment,
      details: { version },
    };
    store.commit({ forgotten: [deployment], names: live, audit: [event] });
    registry.apply(live);
    const dropped = ledger.dropAll(deployment);
    ledger.forget(deployment);
    logger.info({ component: 'gateway.intake', deployment, version }, 'deployment forgotten');
    this.#refresh([deployment], { dropped });
    return { version, held: held.length };
  }

  /**
   * Gives names to others, or to nobody, at once; whoever serves under one of them hears of it.
   * @throws what the store throws; nothing has changed then
   */
  changeNames({ names = [], released = [], grants = [], audit }: NameChange, presenter?: PeerId): void {
    const { ledger, registry, store } = this.#deps;
    const changed = new Set(names.map(({ deployment }) => deployment));
    for (const { host } of [...names, ...released]) changed.add(registry.get(host)?.deployment ?? '');
    changed.delete('');
    const releasedHosts = released.map(({ host }) => host);
    store.commit({ names, releasedHosts, nameGrants: grants, audit });
    registry.apply(names, releasedHosts);
    const told = [...changed].flatMap((deployment) => [...ledger.upstreams(deployment)]);
    const waits = presenter === undefined ? {} : { presenter };
    this.#refresh(changed, { held: names.map(({ host }) => host), released: releasedHosts, ...waits });
    this.#deps.onNews(told.filter((peer) => peer !== presenter));
  }

  /** Writes what is known of names that stay whose they are. */
  keepNames(names: readonly NameRecord[]): void {
    this.#keep(names, []);
  }

  /** Makes all routes anew from registry and ledger: at start, and when other rules count for all of them. What changes later replaces those of a deployment. */
  refreshRoutes(): void {
    const { ledger, registry } = this.#deps;
    const held = registry.list().map(({ host }) => host);
    this.#refresh(
      ledger.list().map(({ deployment }) => deployment),
      { held },
    );
  }

  /** Ends timers; nothing is taken any more. */
  stop(): void {
    for (const ending of this.#endings.values()) ending.cancel();
    this.#endings.clear();
  }

  /** A request was answered under `host`: its lease is the long one from now on. */
  markServed(host: string): void {
    const record = this.#deps.registry.get(host);
    if (!record || record.served || this.#unkept.has(host)) return;
    if (!this.#keep([{ ...record, served: true, lastLiveMs: this.#deps.clock.now() }], [])) this.#unkept.add(host);
  }

  /** To call about every hour: live names are renewed, names whose lease is over are released. */
  sweep(everyMs?: number): void {
    const { registry } = this.#deps;
    this.#unkept.clear();
    const renewals = registry.renewals(everyMs);
    const expired = registry.expired();
    if (renewals.length > 0 || expired.length > 0) {
      if (this.#keep(renewals, expired) && expired.length > 0) {
        const released = expired.map(({ host }) => host);
        this.#refresh(new Set(expired.map(({ deployment }) => deployment)), { released });
      }
    }
    this.#forgetNameless();
  }

  /** True when a member that serves `host` is connected. */
  isLive(host: string): boolean {
    const route = this.#deps.routes.current.find(host);
    const all = route === undefined ? [] : [route, ...(route.others?.values() ?? [])];
    return all.some(({ members }) => members.some((peer) => this.#deps.isConnected(peer)));
  }

  #accept(peer: PeerId, origin: string, bundle: PublicationBundle): PublishAnswer {
    const { clock, ledger, logger, publishers, registry, store } = this.#deps;
    const { limits } = this.#options;
    // The cheap check first: one hash against up to a megabyte of signatures.
    const deployment = deploymentIdOf(bundle.proof.genesis);
    publishers.require(deployment);
    const current = ledger.get(deployment);
    const judged = judgeBundle(bundle, {
      gateway: this.#options.gateway,
      presenter: peer,
      current,
      nowMs: clock.now(),
    });
    if (judged.refusedAs) {
      store.commit({ deployments: [judged.record] });
      ledger.apply(judged.record);
      this.#refresh([deployment], { presenter: peer });
      throw judged.refusedAs;
    }
    const upstreams = ledger.upstreams(deployment);
    if (!upstreams.has(peer) && upstreams.size >= limits.membersPerDeployment) {
      const message = `${limits.membersPerDeployment} members serve this deployment here, which is the limit`;
      throw refusal('MEMBER_LIMIT', message, { details: { deployment }, retryable: true });
    }
    if (!current) this.#requireRoom(origin);
    const { names, refused } = claimNames(this.#deps, judged, () => this.#quotas.takeName(origin));
    if (!current && names.length === 0 && refused[0]) {
      // Nothing of a newcomer can be served: nothing of it is kept.
      return { ok: false, code: refused[0].code, message: refused[0].message };
    }
    if (!current) this.#quotas.takeDeployment(origin);
    const records = names.flatMap(({ record, port }) => (port === undefined ? [record] : [record, port]));
    const holders = records.map(({ host }) => registry.get(host)?.deployment);
    const isKnown =
      upstreams.has(peer) && isSame(judged.record, current) && holders.every((holder) => holder === deployment);
    // On disk before use: the pin against rollback is worth nothing otherwise.
    store.commit({ deployments: [judged.record], names: records, audit: claimedNames(records, registry, peer) });
    registry.apply(records);
    ledger.apply(judged.record, peer);
    // A member that only comes back changes nothing.
    if (!isKnown) this.#refresh([deployment], { held: records.map(({ host }) => host), presenter: peer });
    // Whose proof of a host is gone loses it to whoever has one.
    const losers = new Set(holders.filter((holder) => holder !== undefined && holder !== deployment));
    for (const loser of losers) this.#deps.onNews([...ledger.upstreams(loser ?? '')]);
    this.#setFree(judged.record, peer);
    const { version } = judged.record.proof.newest.head;
    const fields = { component: 'gateway.intake', peer, deployment, version, count: names.length };
    logger.info(fields, 'publication accepted');
    // Whoever brought news and serves nothing gets no names, so its connection has no reason to stay.
    const served = ledger.upstreams(deployment).has(peer) ? names : [];
    return {
      ok: true,
      names: served.map(({ name, record }) => ({ name, host: record.host, url: this.#options.urlOf(record.host) })),
      refused,
    };
  }

  /** Names that a deployment gives to nobody in particular are nobody's. */
  #setFree({ deployment, publications }: DeploymentRecord, presenter: PeerId): void {
    const { ledger, registry } = this.#deps;
    const hosts = publications.flatMap(({ name, transfer }) =>
      transfer === 'nobody' ? (ledger.hostOf(name) ?? []) : [],
    );
    const released = hosts.flatMap((host) => registry.get(host) ?? []).filter((name) => name.deployment === deployment);
    if (released.length === 0) return;
    this.changeNames({ released, audit: releasedNames(released, presenter) }, presenter);
  }

  /** Replaces the routes of these deployments, which costs what they publish, whatever all others do. */
  #refresh(changed: Iterable<DeploymentId>, { dropped = [], held = [], released = [], presenter }: Refresh): void {
    const { registry, ledger, publishers, routes } = this.#deps;
    const gone = [...dropped];
    const deployments: DeploymentRoutes[] = [];
    for (const deployment of changed) {
      for (const placeless of ledger.dropPlaceless(deployment)) gone.push(placeless);
      const mayPublish = publishers.mayPublish(deployment);
      const holds = (host: string): boolean =>
        mayPublish && registry.get(host)?.deployment === deployment && registry.mayServe(host);
      const all = ledger.routes(deployment, holds);
      const specs = all.map((spec) => this.#decided(spec, nameOf(spec, all)));
      deployments.push({ deployment, routes: specs });
      this.#awaitNextEnd(deployment);
    }
    this.#deps.onWithdrawn(routes.apply({ deployments, held, released }));
    if (gone.length > 0) this.#deps.onDropped(gone.filter(({ peer }) => peer !== presenter));
  }

  /** With what the operator decided about it, or about the name that it is part of. */
  #decided(spec: RouteSpec, name: string): RouteSpec {
    const { publishers, suspensions } = this.#deps;
    const suspension = suspensions.of(name, spec.deployment);
    const warns = this.#options.warnsOfStrangers === true && !publishers.isKnown(spec.deployment);
    return { ...spec, ...(suspension && { suspended: suspension.status }), ...(warns && { warns }) };
  }

  /** Takes nothing: who waits for a proof shows itself often before it is let in. @throws `PUBLISH_RATE`, `GATEWAY_BUSY` */
  #requireRoom(origin: string): void {
    this.#quotas.requireDeployment(origin);
    if (this.#deps.ledger.size < this.#options.limits.deployments) return;
    throw refusal('GATEWAY_BUSY', 'this gateway serves as many deployments as it may', { retryable: true });
  }

  #forgetNameless(): void {
    const { clock, ledger, registry, store } = this.#deps;
    const before = clock.now() - FORGOTTEN_AFTER_MS;
    const held = registry.heldByEach();
    const forgotten = ledger
      .list()
      .filter(({ deployment, updatedMs }) => updatedMs < before && ledger.upstreams(deployment).size === 0)
      .map(({ deployment }) => deployment)
      .filter((deployment) => !held.has(deployment));
    if (forgotten.length === 0) return;
    try {
      store.commit({ forgotten });
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.names', err, code: errorCode(err) }, 'deployments not forgotten');
      return;
    }
    for (const deployment of forgotten) ledger.forget(deployment);
  }

  #awaitNextEnd(deployment: DeploymentId): void {
    const { clock, ledger } = this.#deps;
    this.#endings.get(deployment)?.cancel();
    this.#endings.delete(deployment);
    const endMs = ledger.nextEndMs(deployment);
    if (endMs === undefined) return;
    const inMs = Math.min(endMs - clock.now(), MAX_TIMER_MS);
    this.#endings.set(
      deployment,
      clock.after(inMs, () => this.#refresh([deployment], {})),
    );
  }

  /** Writes names; a full disk is reported and what runs goes on. */
  #keep(names: readonly NameRecord[], released: readonly NameRecord[]): boolean {
    const releasedHosts = released.map(({ host }) => host);
    try {
      this.#deps.store.commit({ names, releasedHosts, audit: releasedNames(released) });
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.names', err, code: errorCode(err) }, 'names not kept');
      return false;
    }
    this.#deps.registry.apply(names, releasedHosts);
    return true;
  }

  async #answered(
    peer: PeerId,
    refused: string,
    work: () => PublishAnswer | Promise<PublishAnswer>,
  ): Promise<PublishAnswer> {
    try {
      return await work();
    } catch (error) {
      const code = errorCode(error);
      this.#deps.logger.warn({ component: 'gateway.intake', peer, code, err: error }, refused);
      const message = isMoatError(error) ? error.message : 'the gateway failed';
      return { ok: false, code: isMoatError(error) ? code : 'INTERNAL', message };
    }
  }
}

/** The name that a route is published under: a port is part of one, and has no name of its own. */
function nameOf({ host, port }: RouteSpec, all: readonly RouteSpec[]): string {
  if (port === undefined) return host;
  return all.find((each) => each.port === port && portOfKey(each.host) === undefined)?.host ?? host;
}

/** Whom quotas count a connection for; what comes through a relay counts together. */
function originOf({ remote }: PeerConnection): string {
  return remote ? addressKey(remote.host) : 'relayed';
}
