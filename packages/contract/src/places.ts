/** Who holds which place now: the contract's members and the witnessed claims put together. */
import { isMoatError, type Hash, type PeerId } from '@moat/core';
import { hashClaim, verifyMemberClaim } from './claim.ts';
import { parseTime } from './time.ts';
import type { Contract, Member, MemberClaim, WitnessedClaim } from './schema.ts';

/**
 * `pinned` by the contract, `claimed` by a witnessed claim, `invited` (vacant, its invite still open),
 * `vacant`, `frozen` (two different witnessed claims, or a machine that holds another place already),
 * `expired` (the membership ended), `device` (nobody's agent; its key is in `wireguard`, once it was made).
 */
export type PlaceState = 'pinned' | 'claimed' | 'invited' | 'vacant' | 'frozen' | 'expired' | 'device';

/** One member as it stands now. */
export interface Place {
  readonly name: string;
  readonly tags: readonly string[];
  readonly ipv4: string;
  readonly keeper: boolean;
  /** Who holds the place; null unless `pinned` or `claimed`. */
  readonly peer: PeerId | null;
  readonly state: PlaceState;
  readonly wireguard?: string;
  /** Of a device: the member to whom it connects. */
  readonly via?: string;
  /** When the membership ends, in milliseconds since 1970; infinite when it does not. */
  readonly untilMs: number;
  /** The claim by which the place is held, or that tells a pinned machine's WireGuard key. */
  readonly claim?: MemberClaim;
}

/**
 * Every member's place, in the contract's order. Claims that do not verify under this contract count
 * nothing. Verifies the signatures of claims that are not in `proven`, about 0.4 ms each, and adds them.
 * @param now milliseconds since 1970.
 */
export function resolvePlaces(
  contract: Contract,
  claims: readonly MemberClaim[],
  now: number,
  proven?: WeakSet<WitnessedClaim>,
): Place[] {
  const byMember = validClaims(contract, claims, proven);
  const holders = new Set<PeerId>();
  for (const member of contract.members) {
    if (member.node !== undefined && !isOver(member.expires, now)) holders.add(member.node);
  }
  const winners = firstPlaces(contract, byMember, holders, now);
  return contract.members.map((member) => placeOf(member, byMember.get(member.name) ?? [], winners, now));
}

/**
 * The places of what the branches of a fork all allow. A claim counts only where it holds the same place on each of
 * them: one branch may have frozen it, by a second claim that only its keepers witnessed, or because its machine has
 * another place there. Such a place is frozen here too.
 */
export function placesOnAll(
  places: readonly Place[],
  branches: readonly Contract[],
  claims: readonly MemberClaim[],
  now: number,
  proven?: WeakSet<WitnessedClaim>,
): readonly Place[] {
  const holders = branches.map(
    (branch) => new Map(resolvePlaces(branch, claims, now, proven).map(({ name, peer }) => [name, peer])),
  );
  return places.map((place) => {
    if (place.state !== 'claimed' || holders.every((each) => each.get(place.name) === place.peer)) return place;
    const { claim: _, ...vacant } = place;
    return { ...vacant, peer: null, state: 'frozen' };
  });
}

/** Verified claims by member name: one of each distinct claim, the earliest witness first. */
function validClaims(
  contract: Contract,
  claims: readonly MemberClaim[],
  proven: WeakSet<WitnessedClaim> | undefined,
): Map<string, MemberClaim[]> {
  const seen = new Set<Hash>();
  const byMember = new Map<string, MemberClaim[]>();
  for (const claim of claims.toSorted(byTime)) {
    const hash = hashClaim(claim.claim);
    if (seen.has(hash)) continue;
    try {
      const { name } = verifyMemberClaim(contract, claim, undefined, proven);
      byMember.set(name, [...(byMember.get(name) ?? []), claim]);
      seen.add(hash);
    } catch (error) {
      if (!isMoatError(error)) throw error;
    }
  }
  return byMember;
}

/**
 * A machine takes one place of a network: the pinned one, else the one witnessed first. Maps each claimed
 * member to its claim; a place that is missing here and has claims is frozen.
 */
function firstPlaces(
  contract: Contract,
  byMember: ReadonlyMap<string, readonly MemberClaim[]>,
  holders: Set<PeerId>,
  now: number,
): ReadonlyMap<string, MemberClaim> {
  const winners = new Map<string, MemberClaim>();
  const vacant = contract.members.filter(({ node, expires }) => node === undefined && !isOver(expires, now));
  const single = vacant.flatMap(({ name }) => {
    const claims = byMember.get(name) ?? [];
    return claims.length === 1 ? claims : [];
  });
  for (const claim of single.sort(byTime)) {
    if (holders.has(claim.claim.node)) continue;
    holders.add(claim.claim.node);
    winners.set(claim.details.member, claim);
  }
  return winners;
}

function placeOf(
  member: Member,
  claims: readonly MemberClaim[],
  winners: ReadonlyMap<string, MemberClaim>,
  now: number,
): Place {
  const held = member.node === undefined ? winners.get(member.name) : claims.at(-1);
  const wireguard = member.wireguard ?? held?.details.wireguard ?? undefined;
  const state = stateOf(member, claims, held, now);
  return {
    name: member.name,
    tags: member.tags,
    ipv4: member.ipv4,
    keeper: member.keeper === true,
    peer: state === 'pinned' ? (member.node ?? null) : state === 'claimed' ? (held?.claim.node ?? null) : null,
    state,
    ...(wireguard === undefined ? {} : { wireguard }),
    ...(member.via === undefined ? {} : { via: member.via }),
    untilMs: member.expires === undefined ? Infinity : parseTime(member.expires),
    ...(held === undefined ? {} : { claim: held }),
  };
}

function stateOf(
  member: Member,
  claims: readonly MemberClaim[],
  held: MemberClaim | undefined,
  now: number,
): PlaceState {
  if (isOver(member.expires, now)) return 'expired';
  if (member.via !== undefined) return 'device';
  if (member.node !== undefined) return 'pinned';
  if (held !== undefined) return 'claimed';
  if (claims.length > 0) return 'frozen';
  return member.invite === undefined || isOver(member.invite.expires, now) ? 'vacant' : 'invited';
}

function isOver(expires: string | undefined, now: number): boolean {
  return expires !== undefined && now >= parseTime(expires);
}

/** By witness time, then by member and claim, so that every node sorts alike. */
function byTime(a: MemberClaim, b: MemberClaim): number {
  return (
    parseTime(a.witness.time) - parseTime(b.witness.time) ||
    compare(a.details.member, b.details.member) ||
    compare(a.claim.details, b.claim.details) ||
    compare(a.keeper, b.keeper)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
