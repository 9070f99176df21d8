/**
 * WireGuard on this machine: which networks the operator gave an interface, and their planes. An interface is brought in
 * line with every change; it outlives the agent, and goes when the operator, the owners or the end of the network say so.
 */
import {
  MoatError,
  errorCode,
  isMoatError,
  type Clock,
  type DeploymentId,
  type Logger,
  type PeerId,
  type Tunnels,
} from '@moat/core';
import {
  createPlane,
  tunnelNameOf,
  type ExposedTargets,
  type Plane,
  type PlaneOf,
  type PlanePaths,
  type PlanePresharedKeys,
  type PresharedKeysOf,
  type SocketAddress,
} from '@moat/network';
import type { Deployment } from '../deployments/deployment.ts';
import type { MachineStore, StoredTunnel } from '../store/machine-store.ts';
import type { Insides, Standing } from './insides.ts';
import type { KeyClaims } from './key-claims.ts';
import { deleteNamespace, markOf, openNamespace, openingOf } from './namespaces.ts';
import { keepRange } from './own-range.ts';
import type { PlaceKeys } from './place-keys.ts';
import { entryOf, type TunnelEntry, type Tunneled } from './tunnel-entry.ts';
import { checkPort, freePort } from './udp-ports.ts';

/** Milliseconds until an interface that could not be had, or taken away, is tried again. */
const RETRY_MS = 30_000;
/** Milliseconds for a handshake, behind routers too. */
const MEET_MS = 3_000;

export interface WireguardDeps {
  readonly self: PeerId;
  readonly keys: PlaceKeys;
  readonly claims: Pick<KeyClaims, 'watch' | 'forget' | 'changed' | 'stop'>;
  readonly deployments: { get(id: DeploymentId): Deployment | undefined; list(): readonly Deployment[] };
  readonly store: Pick<MachineStore, 'tunnels' | 'saveTunnel' | 'deleteTunnel'>;
  readonly exposed: ExposedTargets;
  /** The machine's interfaces; asked when the first network wants one. @throws `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN` */
  readonly openTunnels: () => Promise<Tunnels>;
  readonly layoutOf: PlaneOf;
  readonly paths: (of: PathsOf, mayMeet: (peer: PeerId) => boolean) => PlanePaths;
  readonly presharedKeys: (of: PathsOf & PresharedKeysOf) => PlanePresharedKeys;
  readonly insides: Insides;
  /** The network's sockets have to stand elsewhere from now on. */
  readonly onMoved: (id: DeploymentId) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** An interface whose ways are wanted. */
export interface PathsOf {
  readonly tunnels: Tunnels;
  readonly tunnel: string;
  readonly deployment: DeploymentId;
  readonly port: number;
}

/** What the operator asks for; what is left out stays as it is. */
export interface UpRequest {
  readonly netns?: string | undefined;
  readonly port?: number | undefined;
}

export interface AttachOptions {
  /** Compares what stands with a contract that is in force already. @defaultValue false */
  readonly again?: boolean;
}

/** Bound: one entry a network that the operator gave an interface. */
export class Wireguard {
  readonly #deps: WireguardDeps;
  readonly #entries = new Map<DeploymentId, TunnelEntry>();
  #tunnels: Promise<Tunnels> | undefined;
  #backend: Tunnels['backend'] | null = null;
  #ups: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: WireguardDeps) {
    this.#deps = deps;
  }

  /** Kernel or userspace; null until an interface was wanted. */
  get backend(): Tunnels['backend'] | null {
    return this.#backend;
  }

  /** UDP ports of interfaces: never a target of a service. */
  sockets(): readonly SocketAddress[] {
    return [...this.#entries.values()].map(({ stored }) => ({ host: '0.0.0.0', port: stored.port }));
  }

  /** Takes what is on disk; interfaces follow with {@link Wireguard.attach}. Removes those of networks that are gone. */
  async load(): Promise<void> {
    for (const stored of this.#deps.store.tunnels()) {
      if (this.#deps.deployments.get(stored.deployment) === undefined) await this.#clear(stored);
      else this.#entries.set(stored.deployment, entryOf(stored));
    }
  }

  get(id: DeploymentId): Tunneled | undefined {
    return this.#entries.get(id);
  }

  plane(id: DeploymentId): Plane | undefined {
    return this.#entries.get(id)?.plane;
  }

  /**
   * Gives a network an interface, from now on and after restarts; with other settings, the interface moves.
   * @throws `NOT_A_MEMBER`, `PLANE_ROOTLESS`, `WIREGUARD_PORT_TAKEN`, `NETNS_UNKNOWN`, `NETNS_FAILED`, `RANGE_TAKEN`,
   * `TUNNEL_TOOL_MISSING`, `TUNNEL_FORBIDDEN`, `TUNNEL_FAILED`
   */
  up(deployment: Deployment, request: UpRequest): Promise<void> {
    // One after another: two that look for a port at once would find the same.
    const up = this.#ups.then(() => this.#up(deployment, request));
    this.#ups = up.catch(() => undefined);
    return up;
  }

  async #up(deployment: Deployment, request: UpRequest): Promise<void> {
    const { id } = deployment;
    mustHavePlace(deployment);
    await this.#openTunnels();
    const before = this.#entries.get(id)?.stored;
    const netns = request.netns ?? before?.netns ?? null;
    const port = request.port ?? before?.port ?? (await freePort(this.#ports()));
    const isMoved = before !== undefined && (before.netns !== netns || before.port !== port);
    if (request.port !== undefined && request.port !== before?.port) await checkPort(request.port, this.#ports());
    const isOurs = before?.netns === netns && before.netnsMade;
    const made = netns !== null && (await openNamespace(netns, { isOurs })).made;
    if (isMoved) {
      await this.#entries.get(id)?.steps;
      await this.#end(id);
    }
    const kept = before !== undefined && before.netns === netns;
    const netnsMade = made || (kept && before.netnsMade);
    const netnsMark = netns === null ? null : await markOf(netns);
    const stored = { deployment: id, netns, netnsMade, netnsMark, port, remap: kept ? before.remap : null };
    this.#deps.store.saveTunnel(stored);
    const standing = isMoved ? undefined : this.#entries.get(id);
    if (standing === undefined) this.#entries.set(id, entryOf(stored));
    else standing.stored = stored;
    if ((before?.netns ?? null) !== netns) {
      await this.#deps.insides.close(id);
      await this.#deps.onMoved(id);
    }
    if (before !== undefined && !kept) await this.#deleteMade(before);
    await this.#deps.claims.watch(id);
    await this.attach(deployment, { again: true });
    const error = this.#entries.get(id)?.error ?? this.plane(id)?.state.error;
    if (error) throw error;
  }

  /** Takes the interface away, for good; without one nothing happens. @throws `TUNNEL_FAILED`, `NETNS_FAILED` */
  async down(id: DeploymentId): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    // Whoever is at work on it ends first, and nobody begins.
    this.#entries.delete(id);
    entry.retry?.cancel();
    await entry.steps;
    try {
      await this.#takeAway(entry);
    } catch (error) {
      this.#entries.set(id, entry);
      throw error;
    }
    // First the deed, then the word: whoever dies in between leaves nothing that no later agent knows of.
    this.#deps.store.deleteTunnel(id);
    this.#deps.claims.forget(id);
    if (entry.stored.netns !== null && this.#deps.deployments.get(id) !== undefined) await this.#deps.onMoved(id);
    await this.#deps.insides.close(id);
    await this.#deleteMade(entry.stored);
  }

  /** Where the network's sockets are to stand. Never rejects. */
  inside(id: DeploymentId): Promise<Standing> {
    const stored = this.#entries.get(id)?.stored;
    return stored === undefined ? Promise.resolve({}) : this.#deps.insides.open(id, stored);
  }

  /** What programs use for a service over the interface; empty where it does not lead there. */
  addressesOf(id: DeploymentId, service: string): readonly string[] {
    const plane = this.plane(id);
    const protocol = this.#deps.deployments.get(id)?.view.services.get(service)?.protocol;
    // Datagrams have no other way: whoever offers the service has an interface, or nobody reaches it.
    return plane?.addressesOf(service, { unmet: protocol === 'udp' }) ?? [];
  }

  /** Somebody asks for a name: its members are met, so that the next answer leads over the interface. */
  meetByName(asked: string): void {
    const [service = '', network] = asked.toLowerCase().split('.');
    for (const id of this.#entries.keys()) {
      const view = this.#deps.deployments.get(id)?.view;
      if (view?.contract.name === network && view?.services.has(service)) void this.meet(id, [service], MEET_MS);
    }
  }

  /** Resolves when the members that offer these were met, or after `waitMs`. */
  async meet(id: DeploymentId, services: readonly string[], waitMs: number): Promise<void> {
    await this.plane(id)?.meet(services, waitMs);
  }

  /** In the turn of a change: what is no longer allowed leaves the interface before anything else is done. */
  follow(id: DeploymentId): void {
    const { plane, network } = this.#entries.get(id) ?? {};
    const view = this.#deps.deployments.get(id)?.view;
    if (plane === undefined || view === undefined || view.contract.network.ipv4 !== network) return;
    void plane.update(view);
  }

  /** Brings the interface in line; resolves when it is, or when it is known why not. Never rejects. */
  attach(deployment: Deployment, { again = false }: AttachOptions = {}): Promise<void> {
    const entry = this.#entries.get(deployment.id);
    if (entry === undefined || this.#stopped) return Promise.resolve();
    const step = entry.steps.then(() => this.#attach(entry, deployment, again));
    entry.steps = step;
    return step;
  }

  /** The network left this machine, or ended: its interface goes. Never rejects. */
  async detach(id: DeploymentId): Promise<void> {
    if (this.#stopped) return;
    try {
      if (this.#deps.deployments.get(id) === undefined) {
        await this.down(id);
        await this.#deps.keys.forget(id);
      } else await this.#end(id);
    } catch (error) {
      const fields = { component: 'node.wireguard', deployment: id, code: errorCode(error), err: error };
      this.#deps.logger.error(fields, 'interface not removed');
    }
  }

  /** Consent or sockets changed. */
  review(): void {
    for (const { plane } of this.#entries.values()) void plane?.review();
  }

  /** Leaves every interface as it stands: packets go on while no agent runs. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#deps.claims.stop();
    await Promise.allSettled([...this.#entries.values()].map(({ steps }) => steps));
    for (const { retry } of this.#entries.values()) retry?.cancel();
    await Promise.allSettled([...this.#entries.values()].map(async ({ plane }) => plane?.stop()));
    await this.#deps.insides.stop();
  }

  async #attach(entry: TunnelEntry, deployment: Deployment, again: boolean): Promise<void> {
    const { clock, logger, claims } = this.#deps;
    const { id, view, place } = deployment;
    if (this.#entries.get(id) !== entry || this.#stopped) return;
    const isOurs = place !== undefined && view.contract.state === 'active';
    if (isOurs) void claims.watch(id);
    entry.retry?.cancel();
    try {
      if (!isOurs) return await this.#takeAway(entry);
      // Of another range it is not known yet whether it is free here: it could lead what is another network's.
      if (entry.plane && entry.network !== view.contract.network.ipv4) await this.#takeAway(entry);
      entry.plane ??= await this.#createPlane(entry, deployment);
      entry.error = null;
      await (again ? entry.plane.update(view) : entry.plane.settle(view));
    } catch (error) {
      entry.error = codedOf(error);
      logger.warn({ component: 'node.wireguard', deployment: id, code: errorCode(error), err: error }, 'no interface');
      // What an earlier agent left may stand, and follows nobody until this worked.
      entry.retry = clock.after(RETRY_MS, () => void this.attach(deployment));
    }
  }

  async #createPlane(entry: TunnelEntry, deployment: Deployment): Promise<Plane> {
    const { keys, exposed, layoutOf, paths, presharedKeys, clock, logger } = this.#deps;
    const { id, view, place } = deployment;
    const tunnels = await this.#openTunnels();
    const { netns, port } = entry.stored;
    const namespace = netns === null ? null : (await openNamespace(netns, openingOf(entry.stored))).path;
    const network = view.contract.network.ipv4;
    entry.stored = await this.#keepRange(entry.stored, network, namespace);
    entry.remap = entry.stored.remap === null ? undefined : { network, as: entry.stored.remap };
    entry.network = network;
    return createPlane(
      {
        tunnels,
        layoutOf,
        paths: (tunnel, mayMeet) => paths({ tunnels, tunnel, deployment: id, port }, mayMeet),
        presharedKeys: (of) => presharedKeys({ ...of, tunnels, deployment: id, port }),
        privateKey: async (publicKey) => (await keys.inForce(id, publicKey)).export(),
        clock,
        logger: logger.child({ deployment: id, member: place?.name ?? '' }),
      },
      {
        self: place?.name ?? '',
        exposed,
        namespace,
        port,
        remap: entry.remap,
        refusal: () => (deployment.staleness(clock.now()) === 'stale' ? 'STALE' : undefined),
      },
    );
  }

  #keepRange(stored: StoredTunnel, network: string, namespace: string | null): Promise<StoredTunnel> {
    const { self, store, deployments } = this.#deps;
    const networkOf = (id: DeploymentId): string | undefined => deployments.get(id)?.view.contract.network.ipv4;
    const others = [...this.#entries.values()].map((each) => each.stored);
    return keepRange({ self, store, networkOf }, stored, { network, namespace, others });
  }

  async #end(id: DeploymentId): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry !== undefined) await this.#takeAway(entry);
  }

  async #takeAway(entry: TunnelEntry): Promise<void> {
    const { plane } = entry;
    entry.plane = undefined;
    await plane?.remove();
    // Also where an earlier agent left one that this one did not get to.
    await this.#removeLeft(entry.stored.deployment);
  }

  async #removeLeft(id: DeploymentId): Promise<void> {
    const tunnels = await this.#openTunnels();
    await tunnels.remove(tunnelNameOf(id, this.#deps.self));
  }

  async #clear(stored: StoredTunnel): Promise<void> {
    try {
      await this.#removeLeft(stored.deployment);
      await this.#deleteMade(stored);
      this.#deps.store.deleteTunnel(stored.deployment);
    } catch (error) {
      const fields = { component: 'node.wireguard', deployment: stored.deployment, code: errorCode(error), err: error };
      this.#deps.logger.warn(fields, 'interface of a network that is gone not removed');
    }
  }

  async #deleteMade({ netns, netnsMade }: StoredTunnel): Promise<void> {
    const isUsed = [...this.#entries.values()].some(({ stored }) => stored.netns === netns);
    if (netns !== null && netnsMade && !isUsed) await deleteNamespace(netns);
  }

  #ports(): ReadonlySet<number> {
    return new Set([...this.#entries.values()].map(({ stored }) => stored.port));
  }

  async #openTunnels(): Promise<Tunnels> {
    this.#tunnels ??= this.#deps.openTunnels();
    try {
      const tunnels = await this.#tunnels;
      this.#backend = tunnels.backend;
      return tunnels;
    } catch (error) {
      // What is missing may be installed meanwhile.
      this.#tunnels = undefined;
      throw error;
    }
  }
}

function mustHavePlace({ place, view }: Deployment): void {
  const { name, network } = view.contract;
  if (place === undefined) throw new MoatError('NOT_A_MEMBER', `this machine has no place in ${name}`);
  if (network.plane !== 'rootless') return;
  throw new MoatError('PLANE_ROOTLESS', `the owners of ${name} want no WireGuard: network.plane is rootless`, {
    next: ['write plane: auto into moat.yaml', 'moat apply'],
  });
}

function codedOf(error: unknown): MoatError {
  if (isMoatError(error)) return error;
  return new MoatError('TUNNEL_FAILED', 'the WireGuard interface could not be made', { cause: error });
}
