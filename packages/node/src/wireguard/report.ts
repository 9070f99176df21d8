/** The interface of a network as the local API shows it. */
import type { Endpoint, PeerId } from '@moat/core';
import type { PlanePeerState } from '@moat/network';
import type { WireguardPeer, WireguardStatus } from '@moat/admin-api';
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
  };
}

function peerOf(
  { member, peer, publicKey, allowedIps, now, path }: PlanePeerState,
  deployment: Deployment,
): WireguardPeer {
  const state = path?.state;
  return {
    member,
    peer,
    key: publicKey,
    addresses: allowedIps.map((cidr) => cidr.split('/')[0] ?? cidr),
    endpoint: now?.endpoint ? endpointText(now.endpoint) : null,
    path: state?.kind ?? null,
    over: state?.kind === 'riding' ? state.over : null,
    forwarder: state?.kind === 'forwarded' ? nameOf(deployment, state.forwarder) : null,
    reason: state === undefined || state.kind === 'direct' ? null : state.why,
    handshakeAt: now?.handshakeAt ? new Date(now.handshakeAt).toISOString() : null,
    received: now?.received ?? 0,
    sent: now?.sent ?? 0,
    keepaliveSeconds: now?.keepaliveSeconds ?? 0,
  };
}

function nameOf({ view }: Deployment, peer: PeerId): string {
  return view.memberOf(peer)?.name ?? peer;
}

function endpointText({ host, port }: Endpoint): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
