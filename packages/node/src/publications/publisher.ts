/** Keeps up every publication that this machine serves, and tells gateways of those that ended. */
import type { Clock, DeploymentId, Links, Logger, PeerId } from '@moat/core';
import { bundleFor, servicesOfLine, type PublishLine } from '@moat/contract';
import type { Notice, PublicationStatus } from '@moat/admin-api';
import type { ExposedTargets } from '@moat/network';
import type { Overlay, PublishAnswer } from '@moat/overlay';
import { gatewaysOf, type Deployment } from '../deployments/deployment.ts';
import type { EventFeed } from '../event-feed.ts';
import { consentLine, withheldBy } from './withheld.ts';
import type { MachineStore } from '../store/machine-store.ts';
import { GatewaySession } from './gateway-session.ts';

export interface PublisherDeps {
  readonly overlay: Pick<Overlay, 'keep' | 'publish' | 'certificates'>;
  readonly links: Pick<Links, 'connect' | 'get'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly feed: EventFeed;
  readonly store: Pick<MachineStore, 'presented' | 'savePresented' | 'deletePresented'>;
  readonly deployment: (id: DeploymentId) => Deployment | undefined;
  readonly deployments: () => readonly Deployment[];
  /** What the operator exposed. */
  readonly exposed: () => Pick<ExposedTargets, 'isExposed'>;
}

/** Milliseconds that somebody who looks waits for what gateways say. */
const LOOK_MS = 1_000;

/** Bound: one session a gateway that contracts here name, at most 64 KiB of contract lines each. */
export class Publisher {
  readonly #deps: PublisherDeps;
  readonly #sessions = new Map<PeerId, GatewaySession>();
  /** Last state told to followers, and since when, by deployment, gateway and name. */
  readonly #told = new Map<string, { readonly state: string; readonly since: number }>();
  #stopped = false;

  constructor(deps: PublisherDeps) {
    this.#deps = deps;
  }

  /** Follows a deployment's newest version: shows it where we publish or once did. */
  update(deployment: Deployment): void {
    if (this.#stopped) return;
    const { id, view, place } = deployment;
    const gateways = new Map(place === undefined ? [] : gatewaysOf(view, place));
    for (const shown of this.#deps.store.presented()) {
      // Was shown and is not served any more: the newer head withdraws it there.
      if (shown.deployment === id && !gateways.has(shown.gateway)) gateways.set(shown.gateway, shown.addresses);
    }
    for (const session of this.#sessions.values()) {
      if (session.deployments.includes(id) && !gateways.has(session.peer)) this.#drop(session, id);
    }
    for (const [peer, addresses] of gateways) this.#session(peer).show(id, addresses);
    this.#tell(id);
  }

  /** Stops publishing a deployment that was left; gateways keep what they serve until a member says otherwise. */
  forget(id: DeploymentId): void {
    for (const session of this.#sessions.values()) this.#drop(session, id);
    for (const key of this.#told.keys()) if (key.startsWith(`${id} `)) this.#told.delete(key);
  }

  /** Has gateways asked what they would say of certificates; resolves soon, whether all have answered or not. */
  async lookAtCertificates(): Promise<void> {
    const asked = Promise.all([...this.#sessions.values()].map((session) => session.askCertificates()));
    const late = Promise.withResolvers<void>();
    const timer = this.#deps.clock.after(LOOK_MS, late.resolve);
    await Promise.race([asked, late.promise]);
    timer.cancel();
  }

  /** Every publication of every deployment, served here or not. */
  status(): readonly PublicationStatus[] {
    return this.#deps.deployments().flatMap((deployment) => this.statusOf(deployment));
  }

  statusOf(deployment: Deployment): readonly PublicationStatus[] {
    const { contract, view, place } = deployment;
    if (contract.state === 'ended') return [];
    const offered = new Set(place === undefined ? [] : view.servicesOf(place.name).map(({ name }) => name));
    return contract.publish.flatMap((line) => {
      const peers = [...new Set(line.gateway.peers.map(peerOf))];
      const all = peers.map((peer) =>
        this.#statusOf(
          deployment,
          line,
          peer,
          servicesOfLine(line).some((service) => offered.has(service)),
        ),
      );
      return all.filter((one) => !isOtherKeyOf(one, all, line));
    });
  }

  stop(): void {
    this.#stopped = true;
    for (const session of this.#sessions.values()) session.stop();
    this.#sessions.clear();
  }

  #session(peer: PeerId): GatewaySession {
    let session = this.#sessions.get(peer);
    if (session === undefined) {
      session = new GatewaySession(
        {
          ...this.#deps,
          bundle: (id) => {
            const deployment = this.#deps.deployment(id);
            if (deployment === undefined) return undefined;
            // Others' claims are theirs to show: a gateway counts the presenter's only, and reads few.
            const claim = deployment.place?.claim;
            return bundleFor(deployment.proof, deployment.contract, claim === undefined ? [] : [claim], peer);
          },
          onShowing: (id) => this.#remember(id, peer),
          onAnswer: (id, version, answer) => this.#answered(id, peer, version, answer),
          onState: () => {
            for (const id of this.#sessions.get(peer)?.deployments ?? []) this.#tell(id);
          },
        },
        peer,
      );
      this.#sessions.set(peer, session);
    }
    return session;
  }

  /** Written before the bundle leaves, so that a crash cannot leave a name served for ever. */
  #remember(id: DeploymentId, gateway: PeerId): void {
    const deployment = this.#deps.deployment(id);
    if (deployment?.place === undefined) return;
    const addresses = gatewaysOf(deployment.view, deployment.place).get(gateway);
    if (addresses === undefined) return;
    const known = this.#deps.store.presented().find((each) => each.deployment === id && each.gateway === gateway);
    // A full disk must not keep what was published before from being shown again.
    if (known !== undefined && known.addresses.join() === addresses.join()) return;
    this.#deps.store.savePresented({ deployment: id, gateway, addresses });
  }

  #answered(id: DeploymentId, gateway: PeerId, version: number, answer: PublishAnswer): void {
    const names = answer.ok ? answer.names.map(({ name }) => name) : [];
    const fields = { component: 'node.publisher', peer: gateway, deployment: id, version, count: names.length };
    if (answer.ok) this.#deps.logger.info(fields, 'publications shown');
    else this.#deps.logger.warn({ ...fields, code: answer.code }, 'publications refused');
    const deployment = this.#deps.deployment(id);
    const session = this.#sessions.get(gateway);
    const place = deployment?.place;
    const serves = deployment !== undefined && place !== undefined && gatewaysOf(deployment.view, place).has(gateway);
    // In a fork the version shown still publishes it: the one that ends the fork may have to withdraw it.
    if (answer.ok && !serves && deployment?.forked !== true && version === deployment?.contract.version) {
      this.#deps.store.deletePresented(id, gateway);
      if (session !== undefined) this.#drop(session, id);
    }
    this.#tell(id);
  }

  #drop(session: GatewaySession, id: DeploymentId): void {
    if (!session.drop(id)) return;
    session.stop();
    this.#sessions.delete(session.peer);
  }

  #statusOf(deployment: Deployment, line: PublishLine, peer: PeerId, serves: boolean): PublicationStatus {
    const session = this.#sessions.get(peer);
    const answered = session?.answerTo(deployment.id);
    const named =
      answered?.answer.ok === true ? answered.answer.names.find(({ name }) => name === line.name) : undefined;
    const refused = errorOf(answered?.answer, line.name);
    const link = session?.state ?? 'connecting';
    const error = refused ?? (serves ? this.#problem(deployment, line, link) : null);
    const state = stateOf({ serves, link, isNamed: named !== undefined, isRefused: refused !== null });
    const key = `${deployment.id} ${peer} ${line.name}`;
    const told = this.#told.get(key);
    const since = told?.state === state ? told.since : this.#deps.clock.now();
    const certificate = named && session?.certificateOf(deployment.id, named.host);
    return {
      deployment: deployment.id,
      name: line.name,
      service: line.service,
      gateway: line.gateway.domain,
      peer,
      state,
      host: named?.host ?? null,
      url: named?.url ?? null,
      version: answered?.version ?? null,
      error,
      ...(certificate === undefined ? {} : { certificate }),
      since: new Date(since).toISOString(),
    };
  }

  /** Why the public does not get through although nobody refused the name. */
  #problem(deployment: Deployment, { service, gateway }: PublishLine, link: GatewaySession['state']): Notice | null {
    if (link === 'unreachable') {
      const message = `nothing answers at ${gateway.domain} as the gateway that is pinned; if it runs, its operator may have changed its key: an owner runs moat apply`;
      return { code: 'PEER_UNREACHABLE', message };
    }
    // The name stands and leads to a door that is closed: the operator of this machine has the key.
    const withheld = withheldBy(deployment, this.#deps.exposed()).find((one) => one.service === service);
    if (withheld === undefined) return null;
    const line = consentLine(deployment, withheld);
    return { code: 'NOT_PUBLIC', message: `this machine lets no gateway reach ${service}; to open it: ${line}` };
  }

  /** Emits what changed since it was told last. */
  #tell(id: DeploymentId): void {
    const deployment = this.#deps.deployment(id);
    if (deployment === undefined) return;
    const now = this.#deps.clock.now();
    const statuses = this.statusOf(deployment).map((status) => ({
      key: `${id} ${status.peer} ${status.name}`,
      status,
    }));
    const current = new Set(statuses.map(({ key }) => key));
    for (const key of this.#told.keys()) if (key.startsWith(`${id} `) && !current.has(key)) this.#told.delete(key);
    for (const { key, status } of statuses) {
      const state = status.state;
      if (this.#told.get(key)?.state === state) continue;
      this.#told.set(key, { state, since: now });
      this.#deps.feed.emit({ kind: 'publication', publication: { ...status, since: new Date(now).toISOString() } });
    }
  }
}

function peerOf(address: string): PeerId {
  return address.slice(address.lastIndexOf('/') + 1);
}

/** While a gateway replaces its key both are pinned, at the same addresses: one answers there, so the other cannot. */
function isOtherKeyOf(one: PublicationStatus, all: readonly PublicationStatus[], { gateway }: PublishLine): boolean {
  if (one.state !== 'connecting' && one.state !== 'unreachable') return false;
  const placesOf = (peer: PeerId): string[] =>
    gateway.peers.filter((address) => peerOf(address) === peer).map((address) => address.slice(0, -peer.length));
  const own = placesOf(one.peer);
  const answering = all.filter(({ state }) => state === 'live' || state === 'refused');
  return answering.some(({ peer }) => placesOf(peer).some((place) => own.includes(place)));
}

function errorOf(answer: PublishAnswer | undefined, name: string): Notice | null {
  if (answer === undefined) return null;
  if (!answer.ok) return { code: answer.code, message: answer.message };
  const refusal = answer.refused.find((each) => each.name === name);
  return refusal === undefined ? null : { code: refusal.code, message: refusal.message };
}

function stateOf(now: {
  readonly serves: boolean;
  readonly link: GatewaySession['state'];
  readonly isNamed: boolean;
  readonly isRefused: boolean;
}): PublicationStatus['state'] {
  if (!now.serves) return 'waiting';
  if (now.isRefused) return 'refused';
  if (now.isNamed && now.link === 'linked') return 'live';
  return now.link === 'unreachable' ? 'unreachable' : 'connecting';
}
