/** Publication bundles: what a member shows a gateway, and what the gateway believes of it. */
import { MoatError, type DeploymentId, type OwnerKey, type PeerId } from '@moat/core';
import { compareProof, refuse } from './chain.ts';
import { verifyWitnessed, type WitnessRules } from './claim.ts';
import { publicationHash, publicationsOf } from './publication.ts';
import { verifyProof, type VerifiedProof } from './succession.ts';
import { parseTime } from './time.ts';
import type {
  Claim,
  Contract,
  Head,
  HeadProof,
  MemberClaim,
  Publication,
  PublicationBundle,
  SignedHead,
  WitnessedClaim,
} from './schema.ts';

/**
 * The bundle for one gateway: all its publications, and the claims on places they list without the
 * details, which no gateway learns.
 * @param claims the presenting member's own, if it holds its place by claim.
 */
export function bundleFor(
  proof: HeadProof,
  contract: Contract,
  claims: readonly MemberClaim[],
  gateway: PeerId,
): PublicationBundle {
  const publications = publicationsOf(contract).filter(({ gateways }) => gateways.includes(gateway));
  const listed = new Set(
    publications.flatMap(({ members }) => members.flatMap((member) => ('invite' in member ? member.invite : []))),
  );
  return {
    proof,
    publications,
    claims: claims
      .filter(({ claim }) => claim.invite !== null && listed.has(claim.invite))
      .map(({ claim, nodeSignature, inviteSignature, witness, keeper, keeperSignature }) => ({
        claim,
        nodeSignature,
        inviteSignature,
        witness,
        keeper,
        keeperSignature,
      })),
  };
}

/** What a gateway holds a bundle against. */
export interface BundleRules {
  /** The gateway's own PeerId. */
  readonly gateway: PeerId;
  /** The authenticated PeerId of whoever shows the bundle. */
  readonly presenter: PeerId;
  /** The proof of the newest head this gateway has accepted of the deployment; null when it is new here. */
  readonly pinned: HeadProof | null;
  /** Verified claims of this deployment from earlier bundles, so that a place claimed twice is nobody's. */
  readonly known?: readonly WitnessedClaim[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** What `verifyProof` said of this very proof, where it was asked before. */
  readonly verified?: VerifiedProof;
}

/** What a gateway may believe. */
export interface VerifiedBundle {
  readonly deployment: DeploymentId;
  /** To pin. */
  readonly head: SignedHead;
  readonly publications: readonly Publication[];
  /**
   * Those of `publications` that list a place the presenter holds now: it is their upstream, until `ends` of that
   * place. Empty only when the bundle is news about a deployment known here, shown by a node that serves nothing
   * (any more).
   */
  readonly serves: readonly Publication[];
  /** The verified claims on the presenter's place, to keep and pass as `known`. */
  readonly claims: readonly WitnessedClaim[];
}

/**
 * Everything a gateway checks before it serves a name for somebody: the head's quorums back to genesis, its
 * age, each publication's hash and gateway, the presenter's place. Quota and who owns a name are the
 * gateway's own questions. Verifies at most the signatures of the heads and of the claims on the presenter's
 * place.
 * @throws `HEAD_FORGED`, `QUORUM_MISSING`, `GENESIS_MISMATCH`, `VERSION_OLD`, `HEAD_FORKED`,
 * `PUBLICATION_FORGED`, `PUBLICATION_WITHDRAWN`, `PUBLICATION_ELSEWHERE`, `CLAIM_FORGED`, `WITNESS_INVALID`,
 * `PUBLISHER_UNKNOWN`, `MEMBER_EXPIRED`
 */
export function verifyBundle(bundle: PublicationBundle, rules: BundleRules): VerifiedBundle {
  const { proof, publications } = bundle;
  const { presenter } = rules;
  const pinned = rules.pinned?.newest ?? null;
  const { deployment } = rules.verified ?? verifyProof(proof);
  const { head } = proof.newest;
  if (pinned !== null && pinned.head.deployment !== deployment) {
    throw new MoatError('GENESIS_MISMATCH', 'the bundle is of another deployment', { details: { deployment } });
  }
  const order = refuse(compareProof(rules.pinned, proof), pinned?.head, head);

  checkPublications(publications, head, rules.gateway, pinned?.head);
  const claims = claimsOnPlaceOf(presenter, bundle, deployment, rules.now);
  const counted = [...(rules.known ?? []), ...claims];
  const held = publications.filter((publication) => mayServe(publication, presenter, counted));
  const serves = held.filter((publication) => mayServe(publication, presenter, counted, rules.now));
  // News is worth having from anybody who was let in: it proves itself.
  const isNews = order === 'next' || order === 'newer' || (pinned !== null && publications.length === 0);
  if (serves.length === 0 && held.length > 0 && !isNews) {
    throw new MoatError('MEMBER_EXPIRED', "the node's membership has ended", {
      details: { deployment, node: presenter, version: head.version },
    });
  }
  if (serves.length === 0 && !isNews) {
    throw new MoatError('PUBLISHER_UNKNOWN', 'the node holds no place that these publications list', {
      details: { deployment, node: presenter, version: head.version },
    });
  }
  return { deployment, head: proof.newest, publications, serves, claims };
}

/** Of the publications a gateway serves, those the newest head still signs; the others are withdrawn. */
export function stillPublished(head: Head, served: readonly Publication[]): Publication[] {
  const signed = new Set(head.publications);
  return served.filter((publication) => signed.has(publicationHash(publication)));
}

/**
 * True when the peer holds a place the publication lists: pinned, or by the only claim that one of its
 * keepers witnessed in time. A place with two different claims is frozen. Without crypto: the claims were
 * verified. Linear, since a stranger chooses both lists.
 * @param now milliseconds since 1970; places whose membership ended by then count no more. Absent: all count.
 */
export function mayServe(
  publication: Publication,
  peer: PeerId,
  claims: readonly WitnessedClaim[],
  now: number = -Infinity,
): boolean {
  return servicesServedBy(publication, peer, claims, now).length > 0;
}

/** Services of the publication of which the peer holds a place, as {@link mayServe} says of all of them. */
export function servicesServedBy(
  publication: Publication,
  peer: PeerId,
  claims: readonly WitnessedClaim[],
  now: number = -Infinity,
): string[] {
  const { service, members, others = [] } = publication;
  return [{ service, members }, ...others]
    .filter((one) => holdsPlace({ ...publication, members: one.members }, peer, claims, now))
    .map((one) => one.service);
}

function holdsPlace(
  publication: Pick<Publication, 'deployment' | 'witnesses' | 'members'>,
  peer: PeerId,
  claims: readonly WitnessedClaim[],
  now: number,
): boolean {
  const { deployment, witnesses } = publication;
  const members = publication.members.filter(({ ends }) => ends === undefined || parseTime(ends) > now);
  if (members.some((member) => 'node' in member && member.node === peer)) return true;
  const ends = new Map(members.flatMap((member) => ('invite' in member ? [[member.invite, member.expires]] : [])));
  /** By invite; null = frozen. */
  const holders = new Map<OwnerKey, Claim | null>();
  for (const { claim, keeper, witness } of claims) {
    const { invite } = claim;
    const end = invite === null || claim.deployment !== deployment ? undefined : ends.get(invite);
    if (invite === null || end === undefined || !witnesses.includes(keeper)) continue;
    if (parseTime(witness.time) >= parseTime(end)) continue;
    const other = holders.get(invite);
    holders.set(invite, other === undefined || (other !== null && isSame(other, claim)) ? claim : null);
  }
  return [...holders.values()].some((claim) => claim?.node === peer);
}

/** Of two claims of one deployment on one invite. */
function isSame(one: Claim, other: Claim): boolean {
  return one.node === other.node && one.details === other.details;
}

function checkPublications(
  publications: readonly Publication[],
  head: Head,
  gateway: PeerId,
  pinned: Head | undefined,
): void {
  const signed = new Set(head.publications);
  const seen = new Set<string>();
  for (const publication of publications) {
    const hash = publicationHash(publication);
    const details = { deployment: head.deployment, version: head.version, name: publication.name };
    if (publication.deployment !== head.deployment || !signed.has(hash) || seen.has(hash)) {
      if (pinned?.publications.includes(hash) === true && !seen.has(hash)) {
        throw new MoatError('PUBLICATION_WITHDRAWN', `${publication.name} was withdrawn in version ${head.version}`, {
          details,
        });
      }
      throw new MoatError('PUBLICATION_FORGED', `${publication.name} is not what version ${head.version} publishes`, {
        details,
      });
    }
    if (!publication.gateways.includes(gateway)) {
      throw new MoatError('PUBLICATION_ELSEWHERE', `${publication.name} is published at other gateways`, { details });
    }
    seen.add(hash);
  }
}

/**
 * Verified claims on the places the presenter claims, each distinct one once, at most two a place: that many
 * freeze it. Claims on other places are their holders' to show.
 */
function claimsOnPlaceOf(
  presenter: PeerId,
  { publications, claims }: PublicationBundle,
  deployment: DeploymentId,
  now: number,
): WitnessedClaim[] {
  const own = new Set(claims.flatMap(({ claim }) => (claim.node === presenter ? claim.invite : null) ?? []));
  const rulesOf = new Map<OwnerKey, WitnessRules>();
  for (const { members, witnesses } of publications) {
    for (const member of members) {
      if (!('invite' in member) || !own.has(member.invite)) continue;
      rulesOf.set(member.invite, { witnesses, inviteExpires: member.expires, now });
    }
  }

  const kept = new Map<OwnerKey, WitnessedClaim[]>();
  for (const witnessed of claims) {
    const { claim } = witnessed;
    if (claim.invite === null) continue;
    const rules = rulesOf.get(claim.invite);
    // The invite was pinned or taken back since: the claim is history, not forgery.
    if (rules === undefined) continue;
    if (claim.deployment !== deployment) {
      throw new MoatError('CLAIM_FORGED', 'the claim is of another deployment', {
        details: { deployment, node: claim.node },
      });
    }
    const before = kept.get(claim.invite) ?? [];
    if (before.length === 2 || before.some((other) => isSame(other.claim, claim))) continue;
    verifyWitnessed(witnessed, rules);
    kept.set(claim.invite, [...before, witnessed]);
  }
  return [...kept.values()].flat();
}
