/** The port `Tunnels` in memory, for tests: twins that share an `Air` shake hands where their endpoints meet. */
import {
  systemClock,
  type Clock,
  type Endpoint,
  type PeerChange,
  type TunnelPeerState,
  type TunnelSpec,
  type Tunnels,
} from '@moat/core';
import { createMemoryAir, type Air, type AirPacket } from './air.memory.ts';
import { canonicalCidr, canonicalInterfaceAddress } from './cidr.ts';
import { failure, type WireguardErrorCode } from './errors.ts';
import { publicKeyOf } from './keys.ts';
import { rulesDigest } from './nft.ts';
import { describeStep, planTunnel, type Standing, type Step } from './plan.ts';
import { outsideOf } from './remap.ts';
import { formatEndpoint } from './wg.ts';

export interface MemoryTunnelsOptions {
  /** Address of this machine in the air. @defaultValue `192.0.2.1` */
  readonly host?: string;
  /** @defaultValue an air of its own: nobody answers */
  readonly air?: Air;
  /** @defaultValue the system's */
  readonly clock?: Pick<Clock, 'now'>;
}

/** The port, and what a test can see and do beside it. */
export interface MemoryTunnels extends Tunnels {
  readonly backend: 'memory';
  /** As last applied. */
  spec(name: string): TunnelSpec | undefined;
  /** True after an error: the packet rules let nothing in. */
  closed(name: string): boolean;
  /** Preshared key of a peer; null = none. */
  presharedKey(name: string, publicKey: string): string | null;
  /** A program's packet to a peer. True when it arrived; false when only a handshake could be tried, or nothing. */
  send(name: string, publicKey: string): boolean;
  /** `apply` and `setPeer` fail with this code until told otherwise. */
  failWith(code: WireguardErrorCode | null): void;
}

type State = { -readonly [K in keyof TunnelPeerState]: TunnelPeerState[K] } & { presharedKey: string | null };

interface Interface {
  spec: TunnelSpec;
  publicKey: string;
  closed: boolean;
  close: () => void;
  readonly peers: Map<string, State>;
}

/** Bytes of a handshake initiation and of its response (WireGuard paper §5.4). */
const INITIATION_BYTES = 148;
const RESPONSE_BYTES = 92;

/** A machine whose WireGuard interfaces are in memory. */
export function createMemoryTunnels(options: MemoryTunnelsOptions = {}): MemoryTunnels {
  const { host = '192.0.2.1', air = createMemoryAir(), clock = systemClock } = options;
  const interfaces = new Map<string, Interface>();
  let failing: WireguardErrorCode | null = null;

  const find = (name: string): Interface => {
    const found = interfaces.get(name);
    if (!found) throw failure('TUNNEL_UNKNOWN', `there is no interface ${name}`, { details: { name } });
    return found;
  };
  const now = (): number => Math.floor(clock.now() / 1000) * 1000;
  const check = (): void => {
    if (failing !== null) throw failure(failing, 'as the test asked for');
  };

  const receive = (at: Interface, packet: AirPacket, source: Endpoint): boolean => {
    const peer = at.peers.get(packet.from);
    // Who only probes with our key has no interface of that name: nobody knows it.
    if (packet.to !== at.publicKey || !peer) return false;
    if (packet.kind === 'data') {
      if (peer.handshakeAt === null || at.closed) return false;
      peer.received += 1;
    } else {
      peer.handshakeAt = now();
      peer.received += INITIATION_BYTES;
      peer.sent += RESPONSE_BYTES;
    }
    peer.endpoint = source;
    return true;
  };

  const shakeHands = (at: Interface, peer: State): boolean => {
    if (peer.endpoint === null) return false;
    peer.sent += INITIATION_BYTES;
    const packet: AirPacket = { kind: 'initiation', to: peer.publicKey, from: at.publicKey };
    if (!air.send(packet, { host, port: at.spec.port }, peer.endpoint)) return false;
    peer.handshakeAt = now();
    peer.received += RESPONSE_BYTES;
    return true;
  };

  const settle = (name: string, spec: TunnelSpec): void => {
    const before = interfaces.get(name);
    before?.close();
    const peers = new Map(
      spec.peers.map(({ publicKey, allowedIps }): [string, State] => {
        const fresh = {
          endpoint: null,
          handshakeAt: null,
          received: 0,
          sent: 0,
          keepaliveSeconds: 0,
          presharedKey: null,
        };
        const kept = before?.peers.get(publicKey) ?? fresh;
        return [publicKey, { ...kept, publicKey, allowedIps: allowedIps.map(canonicalCidr) }];
      }),
    );
    for (const [key, peer] of before?.peers ?? [])
      if (peer.allowedIps.length === 0 && !peers.has(key)) peers.set(key, peer);
    const made: Interface = {
      spec,
      publicKey: publicKeyOf(spec.privateKey),
      closed: false,
      close: () => undefined,
      peers,
    };
    made.close = air.listen(host, { host, port: spec.port }, (packet, source) => receive(made, packet, source));
    interfaces.set(name, made);
  };

  return {
    backend: 'memory',
    async apply(spec) {
      const before = interfaces.get(spec.name);
      try {
        check();
        const keep = new Set([...(before?.peers.values() ?? [])].filter(isProbe).map(({ publicKey }) => publicKey));
        const steps = planTunnel(before ? standing(before) : null, asSeen(spec), { settings: new Map(), keep });
        if (steps.length > 0) settle(spec.name, spec);
        return steps.map(describeStep);
      } catch (error) {
        if (before) before.closed = true;
        throw error;
      }
    },
    async cut(name, publicKeys, rules) {
      check();
      const { spec } = find(name);
      const steps: Step[] = publicKeys.flatMap((publicKey) =>
        spec.peers.some((peer) => peer.publicKey === publicKey) ? { do: 'remove-peer', publicKey } : [],
      );
      if (rules.chains !== spec.rules.chains) steps.push({ do: 'rules', chains: rules.chains });
      settle(name, { ...spec, rules, peers: spec.peers.filter(({ publicKey }) => !publicKeys.includes(publicKey)) });
      return steps.map(describeStep);
    },
    async peers(name) {
      return [...find(name).peers.values()].map(publicState);
    },
    async setPeer(name, publicKey, change) {
      check();
      const at = find(name);
      const peer = at.peers.get(publicKey);
      if (!peer) throw failure('TUNNEL_UNKNOWN', `${name} has no peer ${publicKey}`, { details: { name, publicKey } });
      const quiet = peer.keepaliveSeconds === 0;
      changeState(peer, change);
      if (quiet && peer.keepaliveSeconds > 0) shakeHands(at, peer);
    },
    async probe(name, publicKey, endpoint) {
      const at = find(name);
      if (at.spec.peers.some((peer) => peer.publicKey === publicKey)) {
        throw failure('TUNNEL_FAILED', 'a peer of the network is not probed with', { details: { name, publicKey } });
      }
      formatEndpoint(endpoint);
      const counters = { handshakeAt: null, received: 0, sent: 0, presharedKey: null };
      const peer: State = { publicKey, allowedIps: [], endpoint, keepaliveSeconds: 1, ...counters };
      at.peers.set(publicKey, peer);
      shakeHands(at, peer);
    },
    async endProbe(name, publicKey) {
      const at = find(name);
      const peer = at.peers.get(publicKey);
      if (peer && isProbe(peer) && !at.spec.peers.some((known) => known.publicKey === publicKey))
        at.peers.delete(publicKey);
    },
    async list() {
      return [...interfaces.keys()].toSorted();
    },
    async remove(name) {
      interfaces.get(name)?.close();
      interfaces.delete(name);
    },
    spec: (name) => interfaces.get(name)?.spec,
    closed: (name) => interfaces.get(name)?.closed ?? false,
    presharedKey: (name, publicKey) => interfaces.get(name)?.peers.get(publicKey)?.presharedKey ?? null,
    send(name, publicKey) {
      const at = find(name);
      const peer = at.peers.get(publicKey);
      if (!peer || peer.endpoint === null || at.closed) return false;
      if (peer.handshakeAt === null && !shakeHands(at, peer)) return false;
      peer.sent += 1;
      const packet: AirPacket = { kind: 'data', to: publicKey, from: at.publicKey };
      // Where nobody answers any more, the next packet begins a handshake, as WireGuard does after 15 s.
      if (air.send(packet, { host, port: at.spec.port }, peer.endpoint)) return true;
      peer.handshakeAt = null;
      return false;
    },
    failWith(code) {
      failing = code;
    },
  };
}

function publicState(state: State): TunnelPeerState {
  const { publicKey, allowedIps, endpoint, handshakeAt, received, sent, keepaliveSeconds } = state;
  return { publicKey, allowedIps, endpoint, handshakeAt, received, sent, keepaliveSeconds };
}

function isProbe(peer: TunnelPeerState): boolean {
  return peer.allowedIps.length === 0 && peer.keepaliveSeconds === 1;
}

function changeState(peer: State, change: PeerChange): void {
  const { endpoint, keepaliveSeconds, presharedKey } = change;
  if (endpoint !== undefined) {
    formatEndpoint(endpoint);
    peer.endpoint = endpoint;
  }
  if (keepaliveSeconds !== undefined) peer.keepaliveSeconds = keepaliveSeconds;
  if (presharedKey !== undefined) peer.presharedKey = presharedKey;
}

function asSeen(spec: TunnelSpec): TunnelSpec {
  return spec.remap ? outsideOf(spec, spec.remap) : spec;
}

function standing({ spec, peers, closed }: Interface): Standing {
  return {
    up: true,
    privateKey: spec.privateKey,
    port: spec.port,
    mtu: spec.mtu,
    addresses: asSeen(spec).addresses.map(canonicalInterfaceAddress),
    routes: asSeen(spec).routes.map(canonicalCidr),
    peers: [...peers.values()],
    settings: new Map(),
    rules: closed ? null : rulesDigest(spec.rules.chains),
  };
}
