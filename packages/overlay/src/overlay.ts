import type {
  Clock,
  ControlPlane,
  DeploymentId,
  Hash,
  Logger,
  Observation,
  PeerConnection,
  PeerId,
  Service,
} from '@moat/core';
import type {
  MemberClaim,
  Proposal,
  PublicationBundle,
  SignedEntry,
  SignedOwnerProof,
  SignedReceipt,
} from '@moat/contract';
import type { NodeKey } from '@moat/identity';
import type { AddressBook } from './address-book.ts';
import type { AnchorLimits } from './anchor.ts';
import type { DirectoryBook, DirectoryPage, DirectoryQuery } from './directory-book.ts';
import type { DeploymentView, JoinAnswer, JoinRequest } from './deployment-view.ts';
import type { OwnerAnswer } from './join.ts';
import type { OwnersView, ProposalReport, PutAnswer, ShownVersion, Snapshot, TakeAnswer } from './owners-view.ts';
import type { Reach } from './reach.ts';
import type { CertificatesHandler, PublishAnswer, PublishHandler, RedeemHandler, Redemption } from './publish.ts';

/** What the overlay uses of the rest. */
export interface OverlayDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly key: NodeKey;
  readonly deployments: DeploymentView;
  /** @defaultValue nothing is kept for owners here */
  readonly owners?: OwnersView;
  readonly addressBook: AddressBook;
  /** Served to anybody. @defaultValue none: this machine has no part of the directory */
  readonly directory?: DirectoryBook;
  /** True for an address inside a private network: never told to others, never dialed. @defaultValue none is */
  readonly isInside?: (host: string) => boolean;
}

export interface OverlayOptions {
  /** Multiaddrs to listen on, e.g. `/ip4/0.0.0.0/tcp/4410`; empty = no inbound connection. */
  readonly listen: readonly string[];
  /** Multiaddrs told to others instead of the ones listened on. */
  readonly announce?: readonly string[];
  /** Relay for others, within limits. @defaultValue false */
  readonly anchor?: boolean | Partial<AnchorLimits>;
  /** Find members on the local network by multicast DNS. */
  readonly mdns: boolean;
  readonly limits?: Partial<OverlayLimits>;
}

/** Bounds and deadlines; the defaults fit a node, a public gateway raises `connections`. */
export interface OverlayLimits {
  /** Open connections. @defaultValue 1200 */
  readonly connections: number;
  /** Connections whose handshake is not finished. @defaultValue 512 */
  readonly pendingConnections: number;
  /** New connections a second from one address. @defaultValue 32 */
  readonly connectionsPerSecond: number;
  /** Milliseconds an inbound handshake may take. @defaultValue 3000 */
  readonly handshakeMs: number;
  /** Milliseconds a connection may stay without a reason. @defaultValue 5000 */
  readonly probationMs: number;
  /** Milliseconds one dial may take. @defaultValue 8000 */
  readonly dialMs: number;
  /** Milliseconds between two signs of life on a connection. @defaultValue 60000 */
  readonly keepAliveMs: number;
  /** The same to an anchor that keeps a place for this machine: until a dead one is noticed, nobody gets in. @defaultValue 25000 */
  readonly placeAliveMs: number;
  /** Milliseconds between two comparisons of heads with one peer. @defaultValue 600000 */
  readonly compareMs: number;
  /** Milliseconds before the second attempt of a redial; doubles up to `redialMaxMs`. @defaultValue 500 */
  readonly redialMinMs: number;
  /** Milliseconds between two redials of one peer at most. @defaultValue 20000 */
  readonly redialMaxMs: number;
}

/** A peer the overlay stays connected to although no deployment asks for it: a gateway we publish at. */
export interface KeptPeer {
  readonly peer: PeerId;
  /** Multiaddrs, tried before the address book's. */
  readonly addresses: readonly string[];
  /** Called for one connection at a time, open before or new, once hello is done; it may still be on probation. */
  readonly onConnection: (connection: PeerConnection) => void;
}

/**
 * What an owner's machine, or a fellow keeper, asks of a keeper on a connection where it is known as such.
 * Every method throws the keeper's own code, `PROPOSALS_REFUSED`, `PEER_UNREACHABLE`, or what a stream throws.
 */
export interface KeeperCalls {
  list(c: PeerConnection, deployment: DeploymentId, signal: AbortSignal): Promise<readonly ProposalReport[]>;
  get(
    c: PeerConnection,
    deployment: DeploymentId,
    id: Hash,
    signal: AbortSignal,
  ): Promise<{ readonly report: ProposalReport; readonly proposal: Proposal }>;
  put(c: PeerConnection, deployment: DeploymentId, proposal: Proposal, signal: AbortSignal): Promise<PutAnswer>;
  take(c: PeerConnection, deployment: DeploymentId, version: ShownVersion, signal: AbortSignal): Promise<TakeAnswer>;
  pull(c: PeerConnection, deployment: DeploymentId, signal: AbortSignal): Promise<Snapshot>;
}

/** What an anchor does for others now, and how much it may. */
export interface Relaying {
  /** Peers that keep a place here. */
  readonly places: number;
  readonly maxPlaces: number;
}

/** What anybody asks of an anchor about the public directory. */
export interface DirectoryCalls {
  /** False where a newer one is known. @throws the anchor's code, `PROTOCOL_UNSUPPORTED`, or what a stream throws */
  put(c: PeerConnection, signed: SignedEntry, signal: AbortSignal): Promise<boolean>;
  /** Signatures are the caller's to verify. @throws the anchor's code, `PROTOCOL_UNSUPPORTED`, or what a stream throws */
  list(c: PeerConnection, query: DirectoryQuery, signal: AbortSignal): Promise<DirectoryPage>;
}

/** What members did with a version. */
export interface ReceiptCalls {
  /** Tells the keepers what this machine did. */
  announce(receipt: SignedReceipt): void;
  /** Asks a keeper what all members did, unless this machine keeps the deployment itself. Never rejects. */
  ask(deployment: DeploymentId): Promise<void>;
}

/** The control plane plus everything that moves deployments' news over it. */
export interface Overlay extends Service, ControlPlane {
  /** Multiaddrs with `/p2p/<own PeerId>` under which this machine can be dialed now, relayed ones last. */
  addresses(): readonly string[];
  /** PeerIds of the anchors that relay for this machine now. */
  reservations(): readonly PeerId[];
  /** Deployments that we and the peer named to each other on this connection. */
  shared(connection: PeerConnection): readonly DeploymentId[];
  /** Dials these addresses (all of one peer) and waits for hello. @throws `PEER_UNREACHABLE` */
  dial(addresses: readonly string[], signal: AbortSignal): Promise<PeerConnection>;
  /** Keeps a connection to a peer, redialing for ever; returns the way to stop. */
  keep(target: KeptPeer): () => void;
  /** How a peer is reached now, and what was tried. */
  reach(peer: PeerId): Reach;
  /** Undefined where this machine is no anchor. */
  relaying(): Relaying | undefined;
  /** Ends probation for a reason of the caller's, until `withdraw` takes the reason back. */
  admit(connection: PeerConnection, reason: string): void;
  /** Takes a reason back; a connection with none left is closed. */
  withdraw(connection: PeerConnection, reason: string): void;
  /** Closes a connection whatever reasons it has, with what is relayed over it; whoever wants it dials anew. */
  close(connection: PeerConnection, why: string): void;
  /** Says hello again on this connection: what we expect since the last one may be named to us now. Never rejects. */
  greet(connection: PeerConnection): Promise<void>;
  /** This machine goes soon: as an anchor it keeps no new place and passes nobody on any more; what is there goes on. */
  leaveAsAnchor(): void;
  /** To call after every change of the deployment view: closes what lost its reason, says hello again, dials. */
  viewChanged(): void;
  /** Asks a few peers, keepers first, what they hold of a deployment, so that they tell what is missing here. */
  compare(deployment: DeploymentId): void;
  /** Tells everyone entitled the newest proof. */
  announceHead(deployment: DeploymentId): void;
  announceClaim(claim: MemberClaim): void;
  /**
   * Asks keepers in turn (multiaddrs with `/p2p/`, also relayed ones) until one answers.
   * @throws `NO_KEEPER_REACHABLE`
   */
  requestJoin(keepers: readonly string[], request: JoinRequest, signal: AbortSignal): Promise<JoinAnswer>;
  /**
   * Shows a keeper an owner's proof for this connection; `ok` admits it on both sides until it closes.
   * @throws `PEER_UNREACHABLE`, `STREAM_ENDED`, `MESSAGE_INVALID`
   */
  showOwner(connection: PeerConnection, signed: SignedOwnerProof, signal: AbortSignal): Promise<OwnerAnswer>;
  /**
   * Asks the anchor at the other end where our UDP packets come from.
   * @param key a WireGuard public key as `wg` prints it, that nobody else knows and nobody holds
   * @returns where the anchor waits 5 s for a handshake for the key; at its other addresses it waits on the same port
   * @throws `OBSERVE_UNAVAILABLE`, `OBSERVE_BUSY`, `PROTOCOL_UNSUPPORTED`, and what a stream throws
   */
  observe(connection: PeerConnection, key: string, signal: AbortSignal): Promise<Observation>;
  /** Requests to the keeper at the other end. */
  readonly keepers: KeeperCalls;
  readonly directory: DirectoryCalls;
  readonly receipts: ReceiptCalls;
  /**
   * Shows a bundle to the gateway at the other end; `ok` with names admits the connection on both sides.
   * @throws `PROTOCOL_UNSUPPORTED`, `STREAM_ENDED`, `MESSAGE_INVALID`
   */
  publish(connection: PeerConnection, bundle: PublicationBundle, signal: AbortSignal): Promise<PublishAnswer>;
  /**
   * Hands the gateway at the other end an invite code of its operator; admits nothing.
   * @throws `PROTOCOL_UNSUPPORTED`, `STREAM_ENDED`, `MESSAGE_INVALID`
   */
  redeem(connection: PeerConnection, redemption: Redemption, signal: AbortSignal): Promise<PublishAnswer>;
  /**
   * Asks the gateway at the other end what became of the certificates of names that we serve there; admits nothing.
   * @throws `PROTOCOL_UNSUPPORTED`, `STREAM_ENDED`, `MESSAGE_INVALID`
   */
  certificates(connection: PeerConnection, deployment: DeploymentId, signal: AbortSignal): Promise<PublishAnswer>;
  /** Serves `/moat/publish/1`, also during probation; without `redeem` no code is taken. */
  servePublish(publish: PublishHandler, redeem?: RedeemHandler, certificates?: CertificatesHandler): void;
}
