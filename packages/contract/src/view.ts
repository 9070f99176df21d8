/**
 * A contract prepared for questions on every stream: who is this peer, who offers this service, what is
 * granted. Built once per version, claim or expiry; every answer is a map lookup, without crypto.
 */
import type { PeerId } from '@moat/core';
import type { Place } from './places.ts';
import type { Contract, MemberClaim, Publication, Service } from './schema.ts';

/** A line of the access list, its members resolved. */
export interface ResolvedGrant {
  /** Index of the line in `contract.access`. */
  readonly grant: number;
  readonly from: ReadonlySet<string>;
  /** Milliseconds since 1970; infinite when it never expires. */
  readonly expiresMs: number;
}

export interface ContractView {
  readonly contract: Contract;
  /** By member name. */
  readonly places: ReadonlyMap<string, Place>;
  /** By service name. */
  readonly services: ReadonlyMap<string, Service>;
  /** The place this peer holds now. */
  memberOf(peer: PeerId): Place | undefined;
  /** Places that offer a service and are held; empty for an unknown one. */
  membersOn(service: string): readonly Place[];
  /** Services a member offers; empty for an unknown one. */
  servicesOf(member: string): readonly Service[];
  /** Everybody who holds a place. */
  peers(): readonly PeerId[];
  /** Keepers that are held; of these, the ones with state `pinned` may witness claims. */
  keepers(): readonly Place[];
  /** The access lines that lead to a service, in order. */
  grantsTo(service: string): readonly ResolvedGrant[];
  /** What this gateway publishes; empty for anybody else. */
  publishedAt(gateway: PeerId): readonly Publication[];
  /** When the next membership, invite or grant ends, in milliseconds since 1970: build again then; null = never. */
  nextExpiry(now: number): number | null;
}

/** @param now milliseconds since 1970. */
export function buildView(contract: Contract, claims: readonly MemberClaim[], now: number): ContractView {
  throw new Error(contract.name + claims.length + now);
}
