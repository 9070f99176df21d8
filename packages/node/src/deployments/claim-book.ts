/** The claims of one deployment, and how many of them a place may have. */
import type { Hash } from '@moat/core';
import { hashClaim, parseTime, type MemberClaim, type SignedClaim } from '@moat/contract';

/** Distinct witnessed claims kept for one invite: two already freeze the place. */
const CLAIMS_PER_INVITE = 2;

/** A claim as it is shown: signed or witnessed, with its details. */
export type ShownClaim = Pick<SignedClaim, 'claim'> & Pick<MemberClaim, 'details'>;

/**
 * Bound: two claims an invite, the first ones; one claim a pinned machine and place, the newest. Says nothing about
 * signatures.
 */
export class ClaimBook implements Iterable<MemberClaim> {
  readonly #byHash: Map<Hash, MemberClaim>;

  constructor(claims: Iterable<MemberClaim>) {
    this.#byHash = new Map();
    for (const claim of claims) this.#byHash.set(hashClaim(claim.claim), claim);
  }

  [Symbol.iterator](): Iterator<MemberClaim> {
    return this.#byHash.values();
  }

  /** The same claims; what is put into one of the two is not in the other. */
  copy(): ClaimBook {
    const copy = new ClaimBook([]);
    for (const [hash, claim] of this.#byHash) copy.#byHash.set(hash, claim);
    return copy;
  }

  /** Claims on the same invite, or by the same pinned machine for the same place; the claim itself among them. */
  besides(shown: ShownClaim): readonly MemberClaim[] {
    return [...this.#byHash.values()].filter((held) => isRival(held, shown));
  }

  /** True when it is new and there is room for it. */
  takes(claim: MemberClaim): boolean {
    if (this.#byHash.has(hashClaim(claim.claim))) return false;
    const rivals = this.besides(claim);
    if (claim.claim.invite !== null) return rivals.length < CLAIMS_PER_INVITE;
    return rivals.every((held) => isNewer(claim, held));
  }

  /** Puts a claim in that {@link ClaimBook.takes} agreed to; returns those it pushed out. */
  put(claim: MemberClaim): readonly Hash[] {
    const gone = claim.claim.invite === null ? this.besides(claim).map((held) => hashClaim(held.claim)) : [];
    for (const hash of gone) this.#byHash.delete(hash);
    this.#byHash.set(hashClaim(claim.claim), claim);
    return gone;
  }
}

function isRival(held: MemberClaim, { claim, details }: ShownClaim): boolean {
  if (claim.invite !== null) return held.claim.invite === claim.invite;
  return held.claim.invite === null && held.claim.node === claim.node && held.details.member === details.member;
}

/** In the order in which every node sorts claims, so that all of them keep the same one. */
function isNewer(claim: MemberClaim, held: MemberClaim): boolean {
  const [time, heldTime] = [parseTime(claim.witness.time), parseTime(held.witness.time)];
  return time === heldTime ? claim.claim.details > held.claim.details : time > heldTime;
}
