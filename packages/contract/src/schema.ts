/**
 * The shapes of everything that is signed or hashed. Field names and order-independent JSON (RFC 8785)
 * are final: a new field is optional, an unknown one is refused (`CONTRACT_TOO_NEW`).
 * Times are RFC 3339 in UTC (`2026-11-20T10:00:00Z`), hashes and signatures base64url.
 */
import type { DeploymentId, Hash, OwnerKey, PeerId } from '@moat/core';

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

/** A place that one machine takes: pinned (`node`), vacant with an invite, or vacant. */
export interface Member {
  readonly name: string;
  readonly node?: PeerId;
  /** WireGuard public key, base64 as `wg` prints it. */
  readonly wireguard?: string;
  readonly ipv4: string;
  readonly tags: readonly string[];
  readonly keeper?: true;
  readonly invite?: Invite;
  /** The membership ends then. */
  readonly expires?: string;
}

export interface Service {
  readonly name: string;
  /** Member names or `tag:<tag>`. */
  readonly on: readonly string[];
  readonly port: number;
  /** `host:port` on the member's machine. */
  readonly target: string;
  readonly protocol: 'tcp' | 'http';
  /** Path of an http health check. */
  readonly health?: string;
}

/** Who may reach which services; there is no deny, the default is deny. */
export interface Grant {
  /** Member names or `tag:<tag>`. */
  readonly from: readonly string[];
  /** Service names. */
  readonly to: readonly string[];
  readonly expires?: string;
}

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
  readonly gateway: GatewayPin;
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
  };
  readonly members: readonly Member[];
  readonly services: readonly Service[];
  readonly access: readonly Grant[];
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

/** A head that changed the owners, with the set it brought in. */
export interface Succession extends SignedHead {
  readonly owners: OwnerSet;
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
  readonly members: readonly ({ readonly node: PeerId } | { readonly invite: OwnerKey; readonly expires: string })[];
  /** Pinned keepers, who alone may witness claims. */
  readonly witnesses: readonly PeerId[];
}

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
