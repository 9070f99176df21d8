/**
 * The one libp2p host of a machine: TCP, Noise, Yamux, relay client. Everything libp2p would decide on its own is
 * set here: connection limits, no connection monitor, no Yamux keepalive, identify only when told, and one
 * wrapper around every protocol handler, libp2p's own included.
 */
import { MoatError, addressKey, type Clock, type Logger } from '@moat/core';
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify, identifyPush, type Identify, type IdentifyPush } from '@libp2p/identify';
import type {
  Connection,
  IdentifyResult,
  Libp2p,
  PeerDiscovery,
  PeerId,
  PrivateKey,
  Startable,
  Stream,
  StreamHandler,
  Transport,
} from '@libp2p/interface';
import { mdns } from '@libp2p/mdns';
import { ping, type Ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { multiaddr, type Multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { boundedYamux } from './muxer.ts';
import { tunedNoise } from './noise.ts';
import type { OverlayLimits } from './overlay.ts';
import { PerSecond } from './per-second.ts';
import { silentLog } from './silent-log.ts';

export const IDENTIFY_PROTOCOL = '/moat/id/1.0.0';
export const IDENTIFY_PUSH_PROTOCOL = '/moat/id/push/1.0.0';
export const PING_PROTOCOL = '/moat/ping/1.0.0';

/** Says nothing about deployments, and is the same for every Moat node. */
const MDNS_SERVICE = '_moat._udp.local';

export interface HostDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly privateKey: PrivateKey;
  /** Resolves when this stream may run; a rejection resets it. Asked for every inbound stream of every protocol. */
  readonly gate: (protocol: string, connection: Connection) => Promise<void>;
  /** Registers protocols, before the first connection can come in. */
  readonly prepare: (libp2p: Libp2p) => Promise<void>;
  readonly onConnection: (connection: Connection) => void;
  /** A peer said where it can be dialed, asked or unasked. */
  readonly onIdentified: (identified: IdentifyResult) => void;
  /** True for an address inside a private network of ours, which is never told: it only leads in by a link that stands. */
  readonly isInside: (host: string) => boolean;
  /** A machine heard of by multicast DNS. */
  readonly onNeighbour: (peer: string, addresses: readonly string[]) => void;
}

export interface HostOptions {
  readonly listen: readonly string[];
  readonly announce: readonly string[];
  readonly mdns: boolean;
  readonly limits: OverlayLimits;
}

export interface Host {
  readonly libp2p: Libp2p<{ identify: Identify; identifyPush: IdentifyPush; ping: Ping }>;
  /**
   * One connection to one multiaddr with `/p2p/`. libp2p's own dialer tries a peer's addresses one after the
   * other and joins a second dial to the first, so that a dead address would hold up the relay.
   */
  dial(address: string, signal: AbortSignal): Promise<Connection>;
  /** Multiaddrs this machine listens on or announces, without `/p2p/`. */
  addresses(): string[];
  /** Where the system lets us listen now, told or not. */
  listening(): string[];
  /** To call when {@link Host.listening} changed: tells the peers we identified to. Never throws. */
  tellAddresses(): void;
}

/** What we reach inside libp2p; its public type hides it. */
interface Components {
  readonly registrar: { handle(protocol: string, handler: StreamHandler, options?: object): Promise<void> };
  readonly transportManager: {
    dial(address: Multiaddr, options: { signal: AbortSignal }): Promise<Connection>;
    getAddrs(): Multiaddr[];
    getTransports(): Transport[];
  };
  readonly peerId: PeerId;
  readonly peerStore: {
    merge(peer: PeerId, data: { readonly protocols?: unknown }, options?: object): Promise<unknown>;
  };
  readonly addressManager: { confirmObservedAddr(address: Multiaddr, options: { type: 'transport' }): void };
}

/** Opens the host. @throws `LISTEN_FAILED`, `ADDRESS_INVALID` */
export async function createHost(deps: HostDeps, options: HostOptions): Promise<Host> {
  const { limits } = options;
  for (const address of [...options.listen, ...options.announce]) parseMultiaddr(address);
  let components: Components | undefined;
  const arrivals = new PerSecond(deps.clock, limits.connectionsPerSecond);
  const libp2p = await createLibp2p({
    start: false,
    logger: silentLog,
    privateKey: deps.privateKey,
    nodeInfo: { name: 'moat', version: '1', userAgent: 'moat/1' },
    addresses: {
      listen: [...options.listen],
      announce: [...options.announce],
      announceFilter: (addresses) => addresses.filter((address) => !deps.isInside(hostOf(address))),
    },
    transports: [tcp(), circuitRelayTransport({ maxInboundStopStreams: 64, maxOutboundStopStreams: 64 })],
    connectionEncrypters: [tunedNoise()],
    streamMuxers: [boundedYamux()],
    connectionGater: {
      // libp2p's own limit counts single IPv6 addresses, of which one party has 2^64
      denyInboundConnection: ({ remoteAddr }) => !arrivals.allow(addressKey(hostOf(remoteAddr))),
    },
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: limits.connections,
      maxIncomingPendingConnections: limits.pendingConnections,
      inboundConnectionThreshold: limits.connectionsPerSecond,
      inboundUpgradeTimeout: limits.handshakeMs,
      dialTimeout: limits.dialMs,
      addressDialTimeout: limits.dialMs,
      // libp2p gives a peer up after its retries; our supervisor never does
      reconnectRetries: 0,
    },
    services: {
      identify: identify({ protocolPrefix: 'moat', runOnConnectionOpen: false, maxInboundStreams: 2 }),
      identifyPush: identifyPush({ protocolPrefix: 'moat', runOnSelfUpdate: false, maxInboundStreams: 1 }),
      ping: ping({ protocolPrefix: 'moat', maxInboundStreams: 2 }),
      gate: (inner: unknown) => {
        components = inner as Components;
        wrapHandlers(components, deps.gate);
        forgetProtocols(components);
        return {};
      },
      lan: (inner: unknown) => (options.mdns ? lan(inner, deps.onNeighbour) : {}),
    },
  });
  libp2p.addEventListener('connection:open', (event) => deps.onConnection(event.detail));
  libp2p.addEventListener('peer:identify', (event) => deps.onIdentified(event.detail));
  if (components === undefined) throw new MoatError('INTERNAL', 'libp2p did not make its services');
  await deps.prepare(libp2p);
  try {
    await libp2p.start();
  } catch (cause) {
    await libp2p.stop();
    throw new MoatError('LISTEN_FAILED', 'the overlay cannot listen on its addresses', {
      cause,
      details: { listen: [...options.listen] },
    });
  }
  const { addressManager, transportManager } = components;
  trustGate(transportManager.getTransports());
  // libp2p withholds public addresses until AutoNAT confirms them; ours are what the operator configured
  const confirm = (): void => {
    for (const address of transportManager.getAddrs())
      addressManager.confirmObservedAddr(address, { type: 'transport' });
  };
  confirm();
  const { identifyPush: push } = libp2p.services;
  return {
    libp2p: libp2p as unknown as Host['libp2p'],
    listening: () => transportManager.getAddrs().map((address) => address.toString()),
    tellAddresses: () => {
      confirm();
      void push.push().catch(() => undefined);
    },
    dial: (address, signal) => transportManager.dial(parseMultiaddr(address), { signal }),
    addresses: () =>
      libp2p
        .getMultiaddrs()
        .map((address) => withoutPeer(address.toString()))
        .filter((text) => !text.includes('/p2p-circuit')),
  };
}

/** The first host in a multiaddr: where its bytes come from. */
export function hostOf(address: Multiaddr): string {
  return address.getComponents().find(({ name }) => name.startsWith('ip') || name.startsWith('dns'))?.value ?? '';
}

/** @throws `ADDRESS_INVALID` */
export function parseMultiaddr(text: string): Multiaddr {
  try {
    return multiaddr(text);
  } catch (cause) {
    throw new MoatError('ADDRESS_INVALID', 'not a multiaddr', { cause, details: { address: text.slice(0, 200) } });
  }
}

/** The multiaddr up to its last `/p2p/`. */
export function withoutPeer(address: string): string {
  return address.replace(/\/p2p\/[^/]+$/, '');
}

/** `node.use()` would do this for one protocol, but it adds the handler again for every stream that comes in. */
function wrapHandlers(components: Components, gate: HostDeps['gate']): void {
  const { registrar } = components;
  const handle = registrar.handle.bind(registrar);
  registrar.handle = (protocol, handler, options) =>
    handle(
      protocol,
      async (stream: Stream, connection: Connection) => {
        // what comes in while the stream waits stays in the peer's window
        if (stream.readStatus === 'readable') stream.pause();
        await gate(protocol, connection);
        if (stream.readStatus === 'paused') stream.resume();
        await handler(stream, connection);
      },
      { ...options, runOnLimitedConnection: true },
    );
}

/**
 * libp2p notes with every stream that the peer speaks its protocol, at twice the cost of the stream; identify has said so.
 * Our own are noted the same way, and are what identify says.
 */
function forgetProtocols({ peerId, peerStore }: Components): void {
  const merge = peerStore.merge.bind(peerStore);
  peerStore.merge = (peer, data, options) => {
    const isProtocolAlone = data.protocols !== undefined && Object.keys(data).length === 1;
    return isProtocolAlone && !peerId.equals(peer) ? Promise.resolve() : merge(peer, data, options);
  };
}

/**
 * libp2p's relay client takes connections only from relays it reserved at itself, and would reserve on its own.
 * Our gate decides which anchor may pass connections on, and reservations are made by `reservations.ts`: the
 * client's own way never asks a relay again that failed once, and forgets queued requests.
 */
function trustGate(transports: readonly Transport[]): void {
  const relay = transports.find((transport) => transport[Symbol.toStringTag] === '@libp2p/circuit-relay-v2-transport');
  const { reservationStore } = relay as unknown as { reservationStore: { hasReservation: () => boolean } };
  reservationStore.hasReservation = () => true;
}

/** mDNS as a plain service: what strangers on the LAN say never reaches libp2p's peer store. */
function lan(components: unknown, onNeighbour: HostDeps['onNeighbour']): object {
  const service = mdns({ serviceTag: MDNS_SERVICE })(
    components as Parameters<ReturnType<typeof mdns>>[0],
  ) as PeerDiscovery & Startable;
  service.addEventListener('peer', ({ detail }) =>
    onNeighbour(
      detail.id.toString(),
      detail.multiaddrs.map((address) => address.toString()),
    ),
  );
  return { start: () => service.start(), stop: () => service.stop() };
}
