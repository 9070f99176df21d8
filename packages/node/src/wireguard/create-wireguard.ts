/** The wiring of WireGuard on this machine: keys, their claims, interfaces and the ways between them. */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Clock, DeploymentId, Links, Logger, PeerId, Signer, Tunnels } from '@moat/core';
import { planeOf, type ExposedTargets, type ForwardDesk, type Router } from '@moat/network';
import type { Overlay } from '@moat/overlay';
import { createMachineTunnels } from '@moat/wireguard';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { Keeper } from '../deployments/keeper.ts';
import type { MachineStore } from '../store/machine-store.ts';
import { Insides } from './insides.ts';
import { KeyClaims } from './key-claims.ts';
import { PlaceKeys } from './place-keys.ts';
import { TunnelPaths } from './tunnel-paths.ts';
import { TunnelPresharedKeys } from './tunnel-preshared-keys.ts';
import { Wireguard } from './wireguard.ts';

/** What WireGuard uses of this machine. */
export interface WireguardMachine {
  /** Its interfaces. @defaultValue the machine's, by its tools */
  readonly openTunnels?: () => Promise<Tunnels>;
  /** Who is asked for ports. @defaultValue the default gateway */
  readonly router?: () => Promise<Router | null>;
}

export interface CreateWireguardDeps extends WireguardMachine {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly stateDir: string;
  readonly deployments: Deployments;
  readonly keeper: Pick<Keeper, 'witness'>;
  readonly store: MachineStore;
  readonly exposed: ExposedTargets;
  /** Made after this. */
  readonly overlay: () => Overlay;
  /** Made after this. */
  readonly forwarding: () => ForwardDesk;
  /** Made after this. */
  readonly links: () => Links;
  readonly keepers: (deployment: Deployment) => readonly string[];
  /** The network's sockets have to stand elsewhere from now on. */
  readonly onMoved: (id: DeploymentId) => Promise<void>;
  readonly time: Clock;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** WireGuard at work. */
export interface WireguardAtWork {
  readonly keys: PlaceKeys;
  readonly claims: KeyClaims;
  readonly interfaces: Wireguard;
  readonly paths: TunnelPaths;
  readonly insides: Insides;
}

export function createWireguard(deps: CreateWireguardDeps): WireguardAtWork {
  const { self, signer, stateDir, deployments, keeper, store, exposed, time, clock, logger } = deps;
  const keys = new PlaceKeys(stateDir);
  const claims = new KeyClaims({
    self,
    signer,
    keys,
    deployment: (id) => deployments.get(id),
    witness: (request) => keeper.witness(request, self),
    keepers: deps.keepers,
    ask: (keepers, request, signal) => deps.overlay().requestJoin(keepers, request, signal),
    take: (from, id, shown) => void deployments.offerClaims(from, id, shown),
    clock,
    logger,
  });
  const { overlay, links, forwarding } = deps;
  const paths = new TunnelPaths({ overlay, links, forwarding, deployments, router: deps.router, clock: time, logger });
  const presharedKeys = new TunnelPresharedKeys({ overlay, clock: time, logger });
  const insides = new Insides({ logger, onAsked: (name) => interfaces.meetByName(name) });
  const interfaces: Wireguard = new Wireguard({
    self,
    keys,
    claims,
    deployments,
    store,
    exposed,
    openTunnels: deps.openTunnels ?? (() => createMachineTunnels({ directory: join(stateDir, 'tunnels') })),
    insides,
    onMoved: deps.onMoved,
    layoutOf: (view, member, options) => planeOf(view, member, { ...options, nearby: nearbyRanges() }),
    paths: (of, mayMeet) => paths.create(of, mayMeet),
    presharedKeys: (of) => presharedKeys.create(of),
    clock: time,
    logger,
  });
  return { keys, claims, interfaces, paths, insides };
}

/** The networks of this machine's interfaces. */
function nearbyRanges(): readonly string[] {
  const ranges = Object.values(networkInterfaces()).flatMap((entries = []) =>
    entries.flatMap(({ cidr }) => cidr ?? []),
  );
  return [...new Set(ranges)];
}
