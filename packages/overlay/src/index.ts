/**
 * How peers find and know each other: one libp2p host, hello, heads, join, anchors.
 *
 * @example
 * ```ts
 * import { createNodeKey } from '@moat/identity';
 * import { silentLogger, systemClock } from '@moat/core';
 * import { createMemoryAddressBook, createOverlay, noDeployments } from '@moat/overlay';
 * await using anchor = createOverlay(
 *   { logger: silentLogger, clock: systemClock, key: createNodeKey(), deployments: noDeployments, addressBook: createMemoryAddressBook() },
 *   { listen: ['/ip4/127.0.0.1/tcp/0'], anchor: true, mdns: false },
 * );
 * await anchor.start({ signal: AbortSignal.timeout(5000) });
 * console.log(anchor.addresses());
 * ```
 * @packageDocumentation
 */
export { createOverlay } from './create-overlay.ts';
export type {
  DirectoryCalls,
  KeeperCalls,
  KeptPeer,
  Overlay,
  OverlayDeps,
  OverlayLimits,
  OverlayOptions,
  Relaying,
} from './overlay.ts';
export { DirectoryAnnouncer, type DirectoryAnnouncerDeps } from './directory-announcer.ts';
export {
  DirectoryBook,
  readEntries,
  type DirectoryBookDeps,
  type DirectoryLimits,
  type DirectoryPage,
  type DirectoryQuery,
  type DirectoryStore,
} from './directory-book.ts';
export { DirectoryCopy, type DirectoryCopyDeps, type DirectoryCopyOptions } from './directory-copy.ts';
export { noDeployments } from './deployment-view.ts';
export type {
  DeploymentPeer,
  DeploymentView,
  HeadName,
  JoinAnswer,
  JoinRequest,
  ProofOutcome,
  Pull,
} from './deployment-view.ts';
export type { OwnerAnswer } from './join.ts';
export { ownerReason } from './owners.ts';
export type {
  OwnersView,
  ProposalReport,
  PutAnswer,
  PutOutcome,
  ShownVersion,
  Snapshot,
  TakeAnswer,
} from './owners-view.ts';
export { publicationReason } from './publish.ts';
export type {
  CertificatesHandler,
  PublishAnswer,
  PublishedCertificate,
  PublishHandler,
  RedeemHandler,
  Redemption,
} from './publish.ts';
export { ADDRESSES_PER_PEER, createMemoryAddressBook, type AddressBook } from './address-book.ts';
export type { AnchorLimits } from './anchor.ts';
export type { DialFailure } from './dialer.ts';
export type { Reach } from './reach.ts';
export { OVERLAY_ERROR_CODES, type OverlayErrorCode } from './errors.ts';
