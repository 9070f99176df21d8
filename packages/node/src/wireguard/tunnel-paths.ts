/** What the ways of WireGuard peers need of this machine: its addresses, its anchors, its links. */
import { networkInterfaces } from 'node:os';
import type { Clock, DeploymentId, LinkStream, Links, Logger, PeerId, StreamEvents } from '@moat/core';
import { ipv6NetworkOf, peerIdOfMultiaddr } from '@moat/contract';
import {
  LinkRide,
  RouterPortMapper,
  createPathDoor,
  createPaths,
  openForward,
  type ForwardDesk,
  type PathDoor,
  type Paths,
  type Router,
} from '@moat/network';
import type { Overlay } from '@moat/overlay';
import type { Deployments } from '../deployments/deployments.ts';
import { isInsideAddress } from '../inside-addresses.ts';
import { linkAnchors } from '../link-anchors.ts';
import type { PathsOf } from './wireguard.ts';

export interface TunnelPathsDeps {
  /** Asked only once it is made. */
  readonly overlay: () => Overlay;
  readonly links: () => Links;
  readonly deployments: Deployments;
  /** Who passes packets on. */
  readonly forwarding: () => ForwardDesk;
  /** Who is asked for ports. @defaultValue the default gateway of this machine */
  readonly router: (() => Promise<Router | null>) | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The ways of every interface of this machine. Bound: one ride a peer of an interface. */
export class TunnelPaths {
  readonly #deps: TunnelPathsDeps;
  readonly #rides = new Map<string, LinkRide>();
  readonly #portMapper: RouterPortMapper;
  #door: PathDoor | undefined;

  constructor(deps: TunnelPathsDeps) {
    this.#deps = deps;
    this.#portMapper = new RouterPortMapper(deps);
  }

  /** The ways of one interface's peers; nothing runs before they are started. */
  create({ tunnels, tunnel, deployment, port }: PathsOf, mayMeet: (peer: PeerId) => boolean): Paths {
    const { clock, logger, deployments, forwarding } = this.#deps;
    const overlay = this.#deps.overlay();
    this.#door ??= createPathDoor({ control: overlay, clock });
    // Asked for now, known when the first pair needs one.
    forwarding().known(deployment);
    const known = linkAnchors({ self: overlay.self, overlay, deployments });
    return createPaths(
      {
        control: overlay,
        door: this.#door,
        tunnels,
        clock,
        logger: logger.child({ deployment }),
        anchors: () => [...new Set((deployments.get(deployment)?.contract.anchors ?? []).map(peerIdOfMultiaddr))],
        observe: (connection, key, signal) => overlay.observe(connection, key, signal),
        connectAnchor: (anchor, signal) => known.connect(anchor, signal),
        mayMeet,
        openRide: (peer) => this.#openRide(deployment, peer, port),
        forwarders: () => forwarding().known(deployment),
        openForward: (connection, pair, signal) => openForward({ control: overlay, clock }, connection, pair, signal),
        portMapper: this.#portMapper,
        localAddresses: () => this.#localAddresses(),
      },
      {
        tunnel,
        deployment,
        port,
        excluded: () => deployments.list().flatMap(({ id, view }) => [view.contract.network.ipv4, ipv6NetworkOf(id)]),
      },
    );
  }

  /** A stream of packets that a peer opened and the contract allows; without an interface nobody takes it. */
  take(deployment: DeploymentId, stream: LinkStream): void {
    const ride = this.#rides.get(keyOf(deployment, stream.peer));
    if (ride !== undefined) return ride.take(stream);
    stream.listen(IGNORED);
    stream.reset('PACKETS_REFUSED');
  }

  /** What routers lead here stays: WireGuard goes on, and a mapping ends by itself within the hour. */
  stop(): Promise<void> {
    return this.#portMapper.stop();
  }

  async #openRide(deployment: DeploymentId, peer: PeerId, port: number): Promise<LinkRide> {
    const { clock, logger } = this.#deps;
    const leads = this.#deps.overlay().self < peer;
    const ride = new LinkRide(
      { links: this.#deps.links(), clock, logger },
      { deployment, peer, wireguardPort: port, leads },
    );
    await ride.start();
    const key = keyOf(deployment, peer);
    this.#rides.set(key, ride);
    const close = ride.close.bind(ride);
    return Object.assign(ride, {
      close: async () => {
        if (this.#rides.get(key) === ride) this.#rides.delete(key);
        await close();
      },
    });
  }

  #localAddresses(): readonly string[] {
    const deployments = this.#deps.deployments.list();
    return Object.entries(networkInterfaces()).flatMap(([name, entries = []]) =>
      entries.flatMap(({ address, internal }) =>
        internal || NOT_OUTSIDE.test(name) || isInsideAddress(deployments, address) ? [] : [address],
      ),
    );
  }
}

/** Interfaces of ours, and those that lead to containers and namespaces of this machine only. */
const NOT_OUTSIDE = /^(?:moat|docker|br-|cni|virbr)/;

const IGNORED: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

function keyOf(deployment: DeploymentId, peer: PeerId): string {
  return `${deployment} ${peer}`;
}
