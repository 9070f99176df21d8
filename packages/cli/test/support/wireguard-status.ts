import type { NetcheckReport, WireguardPeer, WireguardStatus } from '@moat/admin-api';

const PEER: WireguardPeer = {
  member: 'db-1',
  peer: '12D3KooW',
  key: 'db',
  addresses: ['10.77.0.3'],
  endpoint: '203.0.113.9:51820',
  path: 'direct',
  over: null,
  forwarder: null,
  reason: null,
  handshakeAt: '2026-11-21T10:00:00.000Z',
  received: 1536,
  sent: 12,
  keepaliveSeconds: 0,
  presharedKey: 'none',
};

/** An interface with a peer for each kind of way. */
export function wireguardStatus(deployment: string, name: string): WireguardStatus {
  const why = { code: 'BOTH_SYMMETRIC', text: 'both routers choose a new port for each destination (symmetric NAT)' };
  return {
    deployment,
    name,
    member: 'web-1',
    state: 'up',
    error: null,
    interface: 'moatabcdefghij',
    backend: 'kernel',
    netns: 'web',
    port: 51_820,
    addresses: ['10.77.0.2/32'],
    remap: { network: '10.77.0.0/16', as: '100.66.0.0/16' },
    key: { public: 'own', next: 'coming', told: true },
    peers: [
      PEER,
      { ...PEER, member: 'db-2', path: 'forwarded', forwarder: 'relay', reason: why, presharedKey: 'pq' },
      { ...PEER, member: 'db-3', path: 'riding', over: 'spliced', reason: why, handshakeAt: null },
      { ...PEER, member: 'phone', peer: null, path: null },
    ],
    unserved: [{ service: 'web', reason: 'NOT_EXPOSED' }],
    warnings: [{ code: 'FORWARDING_OFF', message: 'the kernel forwards none' }],
  };
}

/** A machine behind a router that two anchors see at one address. */
export function netcheckReport(deployment: string, name: string): NetcheckReport {
  return {
    deployment,
    name,
    nat: 'eim',
    port: 51_820,
    anchors: [
      { anchor: '12D3KooWone', seen: '198.51.100.7:40001', rttMs: 12, code: null },
      { anchor: '12D3KooWtwo', seen: null, rttMs: null, code: 'OBSERVE_SILENT' },
    ],
    mapped: null,
    mappedBy: null,
    local: ['192.168.1.5'],
    forwarders: ['relay'],
  };
}
