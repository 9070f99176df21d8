/**
 * One member's private network: loopback listeners, SOCKS, forwards, and the last hop to a service.
 * Reading order of a connection: rootless/listeners → opener → *link* → attach → admission → connector/.
 *
 * @example
 * ```ts
 * import { ExposedTable, createNetwork } from '@moat/network';
 * const exposed = new ExposedTable({ ownSockets: () => [{ host: '0.0.0.0', port: 4410 }] });
 * exposed.add({ deployment, target: '127.0.0.1:3000', public: true });
 * await using network = createNetwork({ links, logger, clock }, { self: 'web-1', deployment, loopback: true, exposed });
 * await network.start({ signal });
 * await network.update(view);
 * console.log(network.services()); // [{ name: 'db', address: '127.93.4.17', port: 5432, … }]
 * ```
 * @packageDocumentation
 */
export { createNetwork } from './attach.ts';
export type { NetworkDeps, NetworkOptions, PrivateNetwork } from './private-network.ts';
export { NETWORK_ERROR_CODES, type NetworkErrorCode } from './errors.ts';
export { ExposedTable, type ExposedTargets, type Exposure, type SocketAddress } from './exposed.ts';
export type { ServiceState } from './service-state.ts';
export { createForward, type Forward, type ForwardPlace } from './rootless/forward.ts';
export { createDns, type DnsDeps, type DnsServer } from './rootless/dns.ts';
export { dnsPlaces } from './rootless/dns-address.ts';
export { environmentOf, hostNameOf, hostsFileOf, hostsLines, type NamedService } from './rootless/names.ts';
export { PROXY_USER, createProxy, type ProxyOptions, type ProxyServer } from './rootless/proxy.ts';
export type { ProxyDeps, ProxyDestination } from './rootless/proxy-rules.ts';
export {
  planRun,
  probeNamespaces,
  type NamespaceKind,
  type RunPlan,
  type RunRequest,
  type RunUser,
} from './rootless/run.ts';
export type { TlsEnds } from './connector/tls-end.ts';
export {
  createPlane,
  type Plane,
  type PlaneDeps,
  type PlanePaths,
  type PlanePresharedKeys,
  type PlanePeerState,
  type PlaneSettings,
  type PlaneState,
  type PresharedKeysOf,
} from './plane/plane.ts';
export { remapped } from './plane/remapped.ts';
export {
  createPathDoor,
  createPaths,
  type Netcheck,
  type PathDoor,
  type PathPeer,
  type Paths,
  type PathsDeps,
  type PathsOptions,
} from './plane/paths/paths.ts';
export type { ForwardSession, Observe, OpenForward, OpenRide, PacketRide } from './plane/paths/path-ports.ts';
export type { DirectBy, PathLine, PathReason, PathState, WhyNotDirect } from './plane/paths/path-state.ts';
export { planeOf, tunnelNameOf } from './plane/layout.ts';
export type {
  PlaneLayout,
  PlaneOf,
  PlaneOptions,
  PlanePeer,
  PlaneService,
  UnservedReason,
} from './plane/plane-layout.ts';
export { LinkRide, type LinkRideDeps, type LinkRideOptions, type RideCounts } from './plane/ride/link-ride.ts';
export { ForwardDesk, type ForwardDeskDeps } from './plane/forward/forward-desk.ts';
export {
  Forwarder,
  type ForwardedPair,
  type ForwarderDeps,
  type ForwarderLimits,
  type ForwarderOptions,
  type PortRange,
} from './plane/forward/forwarder.ts';
export { openForward, type OpenForwardDeps } from './plane/forward/open-forward.ts';
export { openNamespaceSockets, type NamespaceSockets } from './namespace/namespace-sockets.ts';
export {
  createPresharedKeys,
  createPskDoor,
  type PresharedKeys,
  type PresharedKeysDeps,
  type PresharedKeysOptions,
  type PskDoor,
  type PskLine,
  type PskMode,
} from './plane/preshared-keys/preshared-keys.ts';
export type { PskState } from './plane/preshared-keys/preshared-peer.ts';
export { RouterPortMapper, type RouterPortMapperDeps } from './plane/port-mapping/port-mapper.ts';
export type { Router } from './plane/port-mapping/port-giver.ts';
export { peersBesidesGrants } from './plane/paths/meeting.ts';
