/** The interface of a network as the local API shows it. */
import { readFile } from 'node:fs/promises';
import { MoatError, type Endpoint, type PeerId } from '@moat/core';
import type { PathLine, PlanePeerState } from '@moat/network';
import type { Notice, NetcheckReport, PlanePath, WireguardPeer, WireguardStatus } from '@moat/admin-api';
import type { Deployment } from '../deployments/deployment.ts';
import { toldKeyOf } from './key-claims.ts';
import type { PlaceKeys } from './place-keys.ts';
import type { Wireguard } from './wireguard.ts';

export interface WireguardReportDeps {
  readonly wireguard: Pick<Wireguard, 'get' | 'backend'>;
  readonly keys: Pick<PlaceKeys, 'next'>;
}

/** @throws `TUNNEL_FAILED` when the interface cannot be asked. */
export async function wireguardStatusOf(
  { wireguard, keys }: WireguardReportDeps,
  deployment: Deployment,
): Promise<WireguardStatus> {
  const { id, view, place } = deployment;
  const tunneled = wireguard.get(id);
  const state = tunneled?.plane?.state;
  const layout = state?.layout ?? null;
  const error = tunneled?.error ?? state?.error ?? null;
  const own = place?.wireguard ?? null;
  const next = (await keys.next(id))?.publicKey ?? null;
  return {
    deployment: id,
    name: view.contract.name,
    member: place?.name ?? null,
    state: tunneled === undefined ? 'off' : tunneled.error === null ? (state?.phase ?? 'off') : 'failed',
    error: error === null ? null : { code: error.code, message: error.message, next: error.next },
    interface: layout?.name ?? null,
    backend: tunneled === undefined ? null : wireguard.backend,
    netns: tunneled?.stored.netns ?? null,
    port: tunneled?.stored.port ?? null,
    addresses: layout?.addresses ?? [],
    remap: tunneled?.remap ?? null,
    key: {
      public: own,
      next: next === own ? null : next,
      told: place !== undefined && (next ?? own) !== null && toldKeyOf(place) === (next ?? own),
    },
    peers: ((await tunneled?.plane?.peers()) ?? []).map((peer) => peerOf(peer, deployment)),
    unserved: layout?.unserved ?? [],
    warnings: [
      ...(layout?.forwarding === 'outside' && !(await forwards()) ? [FORWARDING_OFF] : []),
      ...(layout?.leavesBy && tunneled?.stored.netns === null ? [EGRESS_NEEDS_NETNS] : []),
    ],
  };
}

const FORWARDING_OFF: Notice = {
  code: 'FORWARDING_OFF',
  message: 'packets are led through this machine, and its kernel forwards none: sysctl -w net.ipv4.ip_forward=1',
};

const EGRESS_NEEDS_NETNS: Notice = {
  code: 'EGRESS_NEEDS_NETNS',
  message: 'an egress line lets this member leave, which takes a namespace of its own: moat wireguard up --netns NAME',
};

/** Whether the kernel passes packets on between interfaces; never switched on by the agent. */
async function forwards(): Promise<boolean> {
  const text = await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8').catch(() => '1');
  return text.trim() === '1';
}

function peerOf(state: PlanePeerState, deployment: Deployment): WireguardPeer {
  const { member, peer, publicKey, allowedIps, now, path, presharedKey } = state;
  const way = path === undefined ? NO_PATH : planePathOf(deployment, path);
  return {
    member,
    peer,
    key: publicKey,
    addresses: allowedIps.map((cidr) => cidr.split('/')[0] ?? cidr),
    endpoint: now?.endpoint ? endpointText(now.endpoint) : null,
    ...way,
    handshakeAt: now?.handshakeAt ? new Date(now.handshakeAt).toISOString() : null,
    received: now?.received ?? 0,
    sent: now?.sent ?? 0,
    keepaliveSeconds: now?.keepaliveSeconds ?? 0,
    presharedKey: presharedKey?.state ?? 'none',
  };
}

const NO_PATH = { path: null, over: null, forwarder: null, reason: null } as const;

/** A peer's way as the local API shows it. */
export function planePathOf(deployment: Deployment, { state }: PathLine): PlanePath {
  return {
    path: state.kind,
    over: state.kind === 'riding' ? state.over : null,
    forwarder: state.kind === 'forwarded' ? nameOf(deployment, state.forwarder) : null,
    reason: state.kind === 'direct' ? null : state.why,
  };
}

/** How the world sees the interface. @throws `PLANE_OFF`, or the signal's reason */
export async function netcheckOf(
  wireguard: Pick<Wireguard, 'plane'>,
  deployment: Deployment,
  signal: AbortSignal,
): Promise<NetcheckReport> {
  const plane = wireguard.plane(deployment.id);
  if (plane === undefined) {
    throw new MoatError('PLANE_OFF', `${deployment.contract.name} has no WireGuard interface here`, {
      next: ['moat wireguard up'],
    });
  }
  const { nat, port, anchors, mapped, local, forwarders } = await plane.netcheck(signal);
  return {
    deployment: deployment.id,
    name: deployment.contract.name,
    nat,
    port,
    anchors: anchors.map(({ anchor, seen, rttMs, code }) => ({
      anchor,
      seen: seen === null ? null : endpointText(seen),
      rttMs,
      code,
    })),
    mapped: mapped === null ? null : endpointText(mapped.external),
    mappedBy: mapped?.protocol ?? null,
    local,
    forwarders: forwarders.map((peer) => nameOf(deployment, peer)),
  };
}

function nameOf({ view }: Deployment, peer: PeerId): string {
  return view.memberOf(peer)?.name ?? peer;
}

function endpointText({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
