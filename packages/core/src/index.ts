/**
 * What every other package stands on: coded errors, ids, signatures, the clock and logger ports,
 * and the ports by which the packages that do I/O know each other.
 *
 * @example
 * ```ts
 * import { MoatError, isMoatError, systemClock } from '@moat/core';
 * try {
 *   throw new MoatError('NAME_HELD', 'the name is held by another deployment');
 * } catch (error) {
 *   if (isMoatError(error, 'NAME_HELD')) console.error(systemClock.now(), error.toBody());
 * }
 * ```
 * @packageDocumentation
 */
export { addressKey } from './address-key.ts';
export { Balancer, type BalancerDeps, type BalancerOptions } from './balance.ts';
export { Bag, type Bagged } from './bag.ts';
export { BoundedQueue } from './bounded-queue.ts';
export { sleep, systemClock, type Clock, type Timer } from './clock.ts';
export {
  CORE_ERROR_CODES,
  MoatError,
  errorCode,
  isMoatError,
  type CoreErrorCode,
  type ErrorBody,
  type ErrorDetails,
  type MoatErrorOptions,
} from './errors.ts';
export { CONNECTION_SPECIFIC_FIELDS, allFields, isConnectionSpecific, isTrailerAllowed } from './http-fields.ts';
export {
  encodeBase32,
  formatKey,
  fromBase64url,
  isDeploymentId,
  isLabel,
  isPeerId,
  parseKey,
  peerIdFromPublicKey,
  publicKeyFromPeerId,
  toBase64url,
  type DeploymentId,
  type Hash,
  type KeyKind,
  type OwnerKey,
  type PeerId,
} from './ids.ts';
export type { Service } from './lifecycle.ts';
export { silentLogger, type Logger } from './logger.ts';
export { noteReadBuffer } from './read-buffers.ts';
export { readInto } from './read-into.ts';
export { RateLimit, type RateLimitDeps, type RateLimitOptions } from './rate-limit.ts';
export { ALERT, ClientHelloReader, HelloRefused, alertRecord, type Alert, type ClientHello } from './client-hello.ts';
export { Recent } from './recent.ts';
export { RecentOf } from './recent-of.ts';
export { releaseStartupMemory } from './startup-memory.ts';
export { signerFromKey, verifySignature, type Signer } from './signature.ts';
export type { ByteChannel } from './ports/bytes.ts';
export type { Audience, ControlPlane, HandlerOptions, MessageStream, PeerConnection } from './ports/control-plane.ts';
export type {
  AcceptHead,
  Arrival,
  Endpoint,
  FieldList,
  Link,
  LinkPath,
  LinkStream,
  Links,
  OpenRequest,
  RequestHead,
  ResponseHead,
  StreamAcceptor,
  StreamEvents,
  StreamKind,
} from './ports/link.ts';
export type {
  PacketRules,
  PeerChange,
  Remap,
  TunnelPeer,
  TunnelPeerState,
  TunnelSpec,
  Tunnels,
} from './ports/tunnels.ts';
export type {
  InitiationTest,
  InitiationTests,
  MappingProtocol,
  Observation,
  PortMapper,
  PortMapping,
} from './ports/paths.ts';
