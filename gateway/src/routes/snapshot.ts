/**
 * Which host leads to which service. A request looks its host up once and keeps the {@link Route} it found to its end; a
 * route never changes. So what a reader needs is that one turn sees one state, and it does: a change is applied whole
 * in one turn, and it replaces everything that a deployment publishes, never half of it. A table that is never copied
 * gives that at a price that does not grow with what others publish: 100,000 names, a bundle of one name 9 µs
 * instead of 0.3 s (`test/bench`, `growth/names`).
 * Lookup: one Map, no lock.
 */
import { Balancer, type BalancerDeps, type DeploymentId, type PeerId } from '@moat/core';
import type { PublishRules } from '@moat/contract';
import { portOfKey } from '../names/port.ts';
import type { EdgeAuth } from '../publications/edge-rules.ts';
import { NameRules } from '../rules/name-rules.ts';
import type { SuspensionStatus } from '../store/store.ts';
import { loopTurn } from './loop-turn.ts';

/** A name that leads somewhere now. */
export interface Route {
  readonly host: string;
  readonly deployment: DeploymentId;
  readonly service: string;
  /** Members that hold a place of the publication and have shown it here. */
  readonly members: readonly PeerId[];
  /** Who may come in; absent = anybody. */
  readonly auth?: EdgeAuth;
  /** Its bytes are nobody's to read here; absent = http. */
  readonly opaque?: Opaque;
  /** The port that it has to itself. */
  readonly port?: number;
  /** The operator took it off the air: nobody comes in, and this is the status that clients get. */
  readonly suspended?: SuspensionStatus;
  /** The operator does not know who publishes it: people read so before they come in the first time. */
  readonly warns?: true;
  /** Chooses among `members`; outlives the route, as what it learned stays true. */
  readonly balancer: Balancer<PeerId>;
  /** What its publisher wants done besides; outlives the route while it is written the same. */
  readonly rules?: NameRules;
  /** Where the rules lead to besides `service`, by service: this route with another service and its members. */
  readonly others?: ReadonlyMap<string, Route>;
  /** Outlives the route while the deployment keeps the name. */
  readonly usage: RouteUsage;
}

/**
 * How bytes come to a service that no gateway reads: with TLS untouched, chosen by its name; with TLS ended here; or on a
 * port of their own, where there may be no TLS at all.
 */
export type Opaque = 'passthrough' | 'terminated' | 'port';

/** What is remembered of requests under a name, so that most of them cost no second lookup among all names. */
export interface RouteUsage {
  /** When its holder was last told that a service answered, in milliseconds since the epoch. */
  servedToldMs: number;
}

/** Another service that a name leads to, and the members that have it. */
export type OtherMembers = Pick<Route, 'service' | 'members'>;

/** What a route is made of: plain data. */
export interface RouteSpec extends Omit<Route, 'balancer' | 'usage' | 'rules' | 'others'> {
  readonly rules?: PublishRules;
  readonly others?: readonly OtherMembers[];
}

/** The state of this turn: to be asked at once, not to be kept. */
export interface RouteSnapshot {
  /** `host` is normalised. */
  find(host: string): Route | undefined;
  /** True when the name is somebody's, published or not: its handshake is answered. */
  isHeld(host: string): boolean;
  /** True when a handshake for the name is answered here: it is held, and not passed through. */
  endsTls(host: string): boolean;
  /** Ports that lead somewhere. */
  ports(): ReadonlySet<number>;
  list(): Route[];
}

/** All that one deployment publishes here. */
export interface DeploymentRoutes {
  readonly deployment: DeploymentId;
  readonly routes: readonly RouteSpec[];
}

/** A change of routes as plain data, which another process can be sent. */
export interface RouteChange {
  /** Each replaces what the deployment had. */
  readonly deployments: readonly DeploymentRoutes[];
  /** Hosts that are somebody's from now on; those that were before may be among them. */
  readonly held: readonly string[];
  /** Hosts that are nobody's any more. */
  readonly released: readonly string[];
}

export interface RoutesDeps extends BalancerDeps {
  /** Told of each change, before whoever made it knows what it withdrew. */
  changed?(change: RouteChange): void;
}

/** The current routes. Bound: the names that the registry gives away. */
export class Routes implements RouteSnapshot {
  readonly #deps: RoutesDeps;
  readonly #routes = new Map<string, Route>();
  readonly #held = new Set<string>();
  readonly #ports = new Set<number>();
  /** Hosts that each deployment led somewhere when it was last replaced. */
  readonly #hosts = new Map<DeploymentId, readonly string[]>();
  #version = 0;

  constructor(deps: RoutesDeps) {
    this.#deps = { turn: loopTurn, ...deps };
  }

  get current(): RouteSnapshot {
    return this;
  }

  /** Counts up with each change. */
  get version(): number {
    return this.#version;
  }

  find(host: string): Route | undefined {
    return this.#routes.get(host);
  }

  isHeld(host: string): boolean {
    return this.#held.has(host);
  }

  ports(): ReadonlySet<number> {
    return this.#ports;
  }

  endsTls(host: string): boolean {
    if (!this.#held.has(host)) return false;
    const { opaque } = this.#routes.get(host) ?? {};
    return opaque === undefined || opaque === 'terminated';
  }

  list(): Route[] {
    return [...this.#routes.values()];
  }

  /** Takes a change over; returns the hosts that led somewhere and do not any more: withdrawn, suspended, another's. */
  apply(change: RouteChange): string[] {
    const { deployments, held, released } = change;
    this.#deps.changed?.(change);
    const withdrawn = deployments.flatMap((all) => this.#replace(all));
    for (const host of released) this.#held.delete(host);
    for (const host of held) this.#held.add(host);
    this.#version += 1;
    return withdrawn;
  }

  /** Everything as one change, for whoever has nothing yet. */
  whole(): RouteChange {
    const all = new Map<DeploymentId, RouteSpec[]>();
    for (const route of this.#routes.values()) {
      const spec = specOf(route);
      const routes = all.get(spec.deployment);
      if (routes) routes.push(spec);
      else all.set(spec.deployment, [spec]);
    }
    const deployments = [...all].map(([deployment, routes]) => ({ deployment, routes }));
    return { deployments, held: [...this.#held], released: [] };
  }

  /** Makes all routes anew; returns the hosts that led somewhere and do not any more. */
  swap(specs: readonly RouteSpec[], held: Iterable<string>): string[] {
    const all = new Map<DeploymentId, RouteSpec[]>([...this.#hosts.keys()].map((deployment) => [deployment, []]));
    for (const spec of specs) {
      const routes = all.get(spec.deployment);
      if (routes) routes.push(spec);
      else all.set(spec.deployment, [spec]);
    }
    const deployments = [...all].map(([deployment, routes]) => ({ deployment, routes }));
    return this.apply({ deployments, held: [...held], released: [...this.#held] });
  }

  #replace({ deployment, routes }: DeploymentRoutes): string[] {
    const before = this.#hosts.get(deployment) ?? [];
    const hosts = new Set<string>();
    const ended: string[] = [];
    for (const spec of routes) {
      hosts.add(spec.host);
      const known = this.#routes.get(spec.host);
      const isTaken = known !== undefined && known.deployment !== deployment;
      const isSuspended = spec.suspended !== undefined && known !== undefined && known.suspended === undefined;
      // What runs under it is its first holder's, whom nobody means by this name any more.
      if (isTaken || isSuspended) ended.push(spec.host);
      if (isTaken) this.#forget(known);
      this.#routes.set(spec.host, this.#routeOf(spec, known));
    }
    if (hosts.size > 0) this.#hosts.set(deployment, [...hosts]);
    else this.#hosts.delete(deployment);
    const gone = before.filter((host) => !hosts.has(host));
    for (const host of gone) this.#routes.delete(host);
    for (const port of gone.flatMap((host) => portOfKey(host) ?? [])) this.#ports.delete(port);
    for (const port of [...hosts].flatMap((host) => portOfKey(host) ?? [])) this.#ports.add(port);
    return gone.concat(ended);
  }

  #routeOf({ rules: written, others, ...spec }: RouteSpec, known: Route | undefined): Route {
    const balancer = known?.balancer ?? new Balancer<PeerId>(this.#deps);
    balancer.retain(spec.members);
    const isSameHolder = known?.deployment === spec.deployment;
    const usage = isSameHolder ? known.usage : { servedToldMs: -Infinity };
    const route = { ...spec, balancer, usage };
    if (written === undefined) return route;
    const kept = isSameHolder && known.rules?.are(written) === true ? known.rules : undefined;
    const rules = kept ?? new NameRules(this.#deps, written);
    const all = new Map<string, Route>();
    for (const { service, members } of others ?? []) {
      const own = known?.others?.get(service)?.balancer ?? new Balancer<PeerId>(this.#deps);
      own.retain(members);
      rules.retain(service, members);
      all.set(service, { ...route, rules, service, members, balancer: own });
    }
    rules.retain(spec.service, spec.members);
    return { ...route, rules, others: all };
  }

  /** A name becomes another deployment's. */
  #forget({ deployment, host }: Route): void {
    const hosts = this.#hosts.get(deployment)?.filter((each) => each !== host) ?? [];
    if (hosts.length > 0) this.#hosts.set(deployment, hosts);
    else this.#hosts.delete(deployment);
  }
}

function specOf({ balancer: _balancer, usage: _usage, rules, others, ...spec }: Route): RouteSpec {
  if (rules === undefined) return spec;
  const plain = [...(others ?? new Map<string, Route>()).values()].map(({ service, members }) => ({
    service,
    members,
  }));
  return { ...spec, rules: rules.written, ...(plain.length === 0 ? {} : { others: plain }) };
}
