/**
 * The shapes of everything that is signed or hashed. Field names and order-independent JSON (RFC 8785)
 * are final: a new field is optional, an unknown one is refused (`CONTRACT_TOO_NEW`).
 * Times are RFC 3339 in UTC (`2026-11-20T10:00:00Z`), hashes and signatures base64url.
 */
import type { DeploymentId, Hash, OwnerKey, PeerId } from '@moat/core';
import type { PublishRules } from './publish-rules.ts';

/** Who decides, without names: what a head's `owners` hash is over. Sorted by key. */
export interface OwnerSet {
  readonly threshold: number;
  readonly keys: readonly { readonly key: OwnerKey; readonly weight: number }[];
}

/** The beginning of a deployment, fixed for ever; its hash is the deployment's id. */
export interface Genesis {
  readonly type: 'moat/genesis/1';
  readonly owners: OwnerSet;
  /** 16 random bytes, base64url. */
  readonly nonce: string;
}

export interface Owners {
  readonly threshold: number;
  readonly keys: readonly { readonly name: string; readonly key: OwnerKey; readonly weight: number }[];
}

/** A vacant place's door: the public half of the token's seed, open until `expires`. */
export interface Invite {
  readonly key: OwnerKey;
  readonly expires: string;
}

/**
 * A place that one machine takes: pinned (`node`), vacant with an invite, or vacant. With `via` it is a device: a
 * WireGuard key and an address, without an agent; it offers nothing and holds no contract.
 */
export interface Member {
  readonly name: string;
  readonly node?: PeerId;
  /** The member to whom this device connects, and who holds it to its grants. */
  readonly via?: string;
  /** WireGuard public key, base64 as `wg` prints it. */
  readonly wireguard?: string;
  readonly ipv4: string;
  readonly tags: readonly string[];
  readonly keeper?: true;
  readonly invite?: Invite;
  /** The membership ends then. */
  readonly expires?: string;
}

/** What a service speaks: bytes, HTTP/1.1, gRPC, which is HTTP/2 without TLS, or datagrams, on the WireGuard plane only. */
export type ServiceProtocol = 'tcp' | 'http' | 'grpc' | 'udp';

export interface Service {
  readonly name: string;
  /** Member names or `tag:<tag>`. */
  readonly on: readonly string[];
  readonly port: number;
  /** `host:port` on the member's machine. */
  readonly target: string;
  readonly protocol: ServiceProtocol;
  /** Path of an http health check. */
  readonly health?: string;
  /** Each connection to the target begins with a header that names the client. */
  readonly proxyProtocol?: 'v2';
}

/** Who may reach which services; there is no deny, the default is deny. */
export interface Grant {
  /** Member names or `tag:<tag>`. */
  readonly from: readonly string[];
  /** Service names. */
  readonly to: readonly string[];
  readonly expires?: string;
}

/** Who may leave to the internet through a member; of several lines that let somebody, the first counts. */
export interface Egress {
  /** Member names or `tag:<tag>`. */
  readonly from: readonly string[];
  /** The member whose machine they leave by. */
  readonly via: string;
  readonly expires?: string;
}

/** A pre-shared key per pair against those who record now and compute later: where both can, or nothing without. */
export type PostQuantum = 'prefer' | 'require';

export interface GatewayPin {
  readonly domain: string;
  /** Multiaddrs with `/p2p/<PeerId>`. */
  readonly peers: readonly string[];
  /** `x25519:…`, for boxed secrets. */
  readonly box?: string;
}

export interface PublishLine {
  /** One label under the gateway's domain, or a whole host name. */
  readonly name: string;
  /** 16 random bytes, base64url; made once, carried over. */
  readonly salt: string;
  readonly service: string;
  readonly tls: 'terminate' | 'passthrough';
  /** TCP port of the gateway whose bytes all go to the service, instead of a name on its https port. */
  readonly port?: number;
  /** Whom the name is given to: nothing is served under it here any more. */
  readonly transfer?: Heir;
  readonly gateway: GatewayPin;
  /** Who may come in, checked by a terminating gateway. */
  readonly auth?: PublishAuth;
  readonly rules?: PublishRules;
}

/** Who gets a name that its holder gives up: the id of a deployment, or `nobody`: whoever comes first. */
export type Heir = string;

/** A secret only one gateway can open: members see that it is there, and whether it changed. */
export interface BoxedSecret {
  /** Ephemeral X25519 key, nonce and AES-256-GCM ciphertext with its tag, base64url. */
  readonly box: string;
  /** SHA-256(salt of the publish line || secret). */
  readonly digest: Hash;
}

/** Ways in; whoever takes one of them is let in. At least one. */
export interface PublishAuth {
  /** Lines of `user:hash`. */
  readonly basic?: BoxedSecret;
  readonly oidc?: OidcAuth;
  readonly mtls?: ClientCertificates;
  /** Keys of people and machines, who sign in with nothing else; sorted. */
  readonly keys?: readonly OwnerKey[];
  /** Members ask too, each request, whatever the gateway does; only with `users` and `keys`, which they can check. */
  readonly enforce?: 'member';
  /** With `enforce`: lines of `user:hash` that members read, in place of `basic`. */
  readonly users?: string;
}

/** Sign-in at an OpenID Connect provider. */
export interface OidcAuth {
  /** As its configuration names it, without the `/.well-known/…`. */
  readonly issuer: string;
  readonly clientId: string;
  /** The client's secret. */
  readonly secret: BoxedSecret;
  /** Verified addresses, and what follows their @; without either everybody that the provider knows. Sorted. */
  readonly emails?: readonly string[];
  readonly emailDomains?: readonly string[];
}

/** Certificates that clients show in the handshake. */
export interface ClientCertificates {
  /** PEM of the authorities that sign them. */
  readonly ca: string;
}

export interface Contract {
  readonly type: 'moat/contract/1';
  readonly deployment: DeploymentId;
  readonly name: string;
  readonly version: number;
  readonly owners: Owners;
  /** Multiaddrs with `/p2p/<PeerId>`. */
  readonly anchors: readonly string[];
  readonly network: {
    readonly ipv4: string;
    readonly plane: 'auto' | 'wireguard' | 'rootless';
    /** Milliseconds; absent = never stale. */
    readonly maxStale?: number;
    /** Absent = off. */
    readonly postQuantum?: PostQuantum;
  };
  readonly members: readonly Member[];
  readonly services: readonly Service[];
  readonly access: readonly Grant[];
  readonly egress?: readonly Egress[];
  readonly publish: readonly PublishLine[];
  readonly state: 'active' | 'ended';
}

/** What owners sign: hashes of everything a version says. */
export interface Head {
  readonly type: 'moat/head/1';
  readonly deployment: DeploymentId;
  readonly version: number;
  /** Hash of the head before; null only at version 0. */
  readonly previous: Hash | null;
  /** Hash of the newest head of the other branch: this version ends a fork. */
  readonly merges?: Hash;
  readonly contract: Hash;
  readonly owners: Hash;
  /** Hash of each publication, sorted. */
  readonly publications: readonly Hash[];
}

export interface OwnerSignature {
  readonly key: OwnerKey;
  readonly signature: string;
}

export interface SignedHead {
  readonly head: Head;
  readonly signatures: readonly OwnerSignature[];
}

/** A head that changed the owners, or ended a fork, with the owner set in force from then on. */
export interface Succession extends SignedHead {
  readonly owners: OwnerSet;
  /** The branch that `head.merges` names; only with it. */
  readonly merged?: MergedBranch;
}

/** The side of a fork that does not go on: its successions after the last common version, and its newest head. */
export interface MergedBranch {
  /** How many of the successions before the merging head both sides share, counted from genesis. */
  readonly shared: number;
  readonly successions: readonly Succession[];
  readonly newest: SignedHead;
  /** The head that the merging one follows, which tells its version. */
  readonly previous: Head;
}

/** All it takes to believe a head without its contract. */
export interface HeadProof {
  readonly genesis: Genesis;
  /** Oldest first. */
  readonly successions: readonly Succession[];
  readonly newest: SignedHead;
}

/** One service made public at one gateway under one name, as that gateway sees it. Arrays are sorted. */
export interface Publication {
  readonly type: 'moat/publication/1';
  readonly deployment: DeploymentId;
  readonly salt: string;
  readonly gateways: readonly PeerId[];
  readonly name: string;
  readonly service: string;
  readonly kind: 'tcp' | 'http';
  readonly tls: 'terminate' | 'passthrough';
  readonly port?: number;
  readonly transfer?: Heir;
  readonly members: readonly PublicationMember[];
  readonly auth?: PublishAuth;
  readonly rules?: PublishRules;
  /** What `rules` leads to besides `service`, by name. */
  readonly others?: readonly OtherService[];
  /** Pinned keepers, who alone may witness claims. */
  readonly witnesses: readonly PeerId[];
}

/** Another service of the deployment under the same name. */
export interface OtherService {
  readonly service: string;
  readonly kind: 'tcp' | 'http';
  readonly members: readonly PublicationMember[];
}

/** A machine that may serve a publication: pinned, or whoever holds a witnessed claim by this invite. */
export type PublicationMember = (
  { readonly node: PeerId } | { readonly invite: OwnerKey; /** The invite's. */ readonly expires: string }
) & {
  /** The membership ends then. */
  readonly ends?: string;
};

/** Taken place: what a machine signs with its node key and, for a vacant place, the invite key. */
export interface Claim {
  readonly type: 'moat/claim/1';
  readonly deployment: DeploymentId;
  readonly invite: OwnerKey | null;
  readonly node: PeerId;
  /** SHA-256 of the canonical {@link ClaimDetails}. */
  readonly details: Hash;
}

export interface ClaimDetails {
  /** 16 random bytes, base64url. */
  readonly nonce: string;
  readonly member: string;
  readonly wireguard: string | null;
}

export interface SignedClaim {
  readonly claim: Claim;
  readonly nodeSignature: string;
  /** Null when `claim.invite` is null. */
  readonly inviteSignature: string | null;
}

/** A pinned keeper's countersignature: this claim came first, at this time. */
export interface Witness {
  readonly type: 'moat/witness/1';
  readonly claim: Hash;
  readonly time: string;
}

export interface WitnessedClaim extends SignedClaim {
  readonly witness: Witness;
  readonly keeper: PeerId;
  readonly keeperSignature: string;
}

/** A witnessed claim as members hold it; gateways get it without `details`. */
export interface MemberClaim extends WitnessedClaim {
  readonly details: ClaimDetails;
}

/** What a member shows a gateway, whole, replacing what it showed before. */
export interface PublicationBundle {
  readonly proof: HeadProof;
  readonly publications: readonly Publication[];
  /** Claims by which presenting members hold their places. */
  readonly claims: readonly WitnessedClaim[];
}

/** What `moat invite` prints; without a seed it is a locator. */
export interface Token {
  readonly deployment: DeploymentId;
  readonly version: number;
  readonly head: Hash;
  /** Multiaddrs with `/p2p/<PeerId>` of pinned keepers. */
  readonly keepers: readonly string[];
  readonly anchors: readonly string[];
  /** 32 random bytes, base64url. */
  readonly seed?: string;
  /** The place it is for, which the claim's details name; absent in a locator. */
  readonly member?: string;
}

/** A version on its way: waits at keepers, or travels as a file, until a quorum has signed it. */
export interface Proposal {
  readonly type: 'moat/proposal/1';
  readonly contract: Contract;
  readonly head: Head;
  readonly signatures: readonly OwnerSignature[];
  /**
   * Only where the version changes the owners or ends a fork: the empty version after it, signed along with
   * it, so that those who are replaced cannot fork the change.
   */
  readonly seal?: SignedHead;
  /** The branch that `head.merges` names; only with it. */
  readonly merged?: MergedBranch;
}

/** What an owner who is no member signs for one connection to a keeper. */
export interface OwnerProof {
  readonly type: 'moat/owner/1';
  readonly deployment: DeploymentId;
  readonly owner: OwnerKey;
  /** Who dialed: the machine of the owner. */
  readonly dialer: PeerId;
  readonly keeper: PeerId;
  readonly time: string;
}

export interface SignedOwnerProof {
  readonly proof: OwnerProof;
  readonly signature: string;
}

/** What somebody signs to come in under a public name. */
export interface SignIn {
  readonly type: 'moat/sign-in/1';
  /** The name, without a port. */
  readonly host: string;
  /** What the name asked, base64url. */
  readonly nonce: string;
  /** Of an owner or a machine. */
  readonly key: OwnerKey;
  /** A time until which the signature itself lets in, where members ask: see `SignInProofs`. */
  readonly until?: string;
}

export interface SignedSignIn {
  readonly signIn: SignIn;
  readonly signature: string;
}

/** What a node did with a version. */
export interface Receipt {
  readonly type: 'moat/receipt/1';
  readonly deployment: DeploymentId;
  readonly node: PeerId;
  readonly version: number;
  readonly head: Hash;
  readonly result: 'applied' | 'failed';
  /** Error code; null when applied. */
  readonly code: string | null;
  readonly time: string;
}

export interface SignedReceipt {
  readonly receipt: Receipt;
  readonly signature: string;
}

/** The PeerIds of a gateway, numbered; the machines of list n sign list n+1. */
export interface GatewayPeers {
  readonly type: 'moat/gateway-peers/1';
  readonly domain: string;
  /** 1 for the first list that replaces pinned PeerIds. */
  readonly number: number;
  /** Sorted. */
  readonly peers: readonly PeerId[];
  /** Sorted: who signs. */
  readonly before: readonly PeerId[];
}

export interface SignedGatewayPeers {
  readonly list: GatewayPeers;
  readonly signatures: readonly { readonly node: PeerId; readonly signature: string }[];
}
