/** Claims: how a machine takes a place, and the pinned keeper's witness that makes it count. */
import {
  MoatError,
  formatKey,
  peerIdFromPublicKey,
  verifySignature,
  type DeploymentId,
  type Hash,
  type PeerId,
  type Signer,
} from '@moat/core';
import { canonicalBytes, hashCanonical } from './canonical.ts';
import { witnessesOf } from './selector.ts';
import { keyOfNode, keyOfOwner } from './signing-key.ts';
import { CLOCK_TOLERANCE_MS, formatTime, parseTime } from './time.ts';
import type {
  Claim,
  ClaimDetails,
  Contract,
  Member,
  MemberClaim,
  SignedClaim,
  Witness,
  WitnessedClaim,
} from './schema.ts';

/** What a machine needs to claim a place. */
export interface ClaimRequest {
  readonly deployment: DeploymentId;
  readonly details: ClaimDetails;
  readonly nodeSigner: Signer;
  /** Null when the place is pinned to this node already. */
  readonly inviteSigner: Signer | null;
}

/** What a witness is held to. */
export interface WitnessRules {
  /** The pinned keepers' PeerIds; nobody else may witness. */
  readonly witnesses: readonly PeerId[];
  /** The invite's `expires`; absent for a pinned place. */
  readonly inviteExpires?: string;
  /** Milliseconds since 1970; when given, a witness more than five minutes ahead of it is refused. */
  readonly now?: number;
  /**
   * Claims whose signatures verified before; the ones that verify now are added. By object, and claims are
   * immutable: a signature holds for ever, only the rules above change with the version.
   */
  readonly proven?: WeakSet<WitnessedClaim>;
}

/** A claim signed by the node key and, for a vacant place, the invite key. */
export function createClaim({ deployment, details, nodeSigner, inviteSigner }: ClaimRequest): SignedClaim {
  const claim: Claim = {
    type: 'moat/claim/1',
    deployment,
    invite: inviteSigner === null ? null : formatKey('ed25519', inviteSigner.publicKey),
    node: peerIdFromPublicKey(nodeSigner.publicKey),
    details: hashCanonical(details),
  };
  const bytes = canonicalBytes(claim);
  return {
    claim,
    nodeSignature: nodeSigner.sign('moat/claim/1', bytes),
    inviteSignature: inviteSigner === null ? null : inviteSigner.sign('moat/claim/1', bytes),
  };
}

/** What a witness is about: the claim without its signatures, so that a retry is the same claim. */
export function hashClaim(claim: Claim): Hash {
  return hashCanonical(claim);
}

/** @throws `CLAIM_FORGED` unless both signatures verify and the details, where given, are the claim's. */
export function verifyClaim({ claim, nodeSignature, inviteSignature }: SignedClaim, details?: ClaimDetails): void {
  const bytes = canonicalBytes(claim);
  const node = keyOfNode(claim.node);
  if (!verifySignature('moat/claim/1', bytes, nodeSignature, node)) throw forged(claim, 'not signed by its node');
  if ((claim.invite === null) !== (inviteSignature === null)) {
    throw forged(claim, 'invite key and invite signature do not come together');
  }
  if (claim.invite !== null && inviteSignature !== null) {
    const key = keyOfOwner(claim.invite);
    if (!verifySignature('moat/claim/1', bytes, inviteSignature, key)) throw forged(claim, 'not signed by its invite');
  }
  checkDetails(claim, details);
}

function checkDetails(claim: Claim, details: ClaimDetails | undefined): void {
  if (details !== undefined && hashCanonical(details) !== claim.details) throw forged(claim, 'its details differ');
}

/**
 * A keeper's countersignature. The caller has verified the claim, seen that the invite is open at this
 * time, and remembers the claim on disk, once per invite key, before it gives the answer away.
 * @param timeMs milliseconds since 1970, written in whole seconds.
 */
export function witnessClaim(signed: SignedClaim, timeMs: number, keeperSigner: Signer): WitnessedClaim {
  const witness: Witness = { type: 'moat/witness/1', claim: hashClaim(signed.claim), time: formatTime(timeMs) };
  return {
    claim: signed.claim,
    nodeSignature: signed.nodeSignature,
    inviteSignature: signed.inviteSignature,
    witness,
    keeper: peerIdFromPublicKey(keeperSigner.publicKey),
    keeperSignature: keeperSigner.sign('moat/witness/1', canonicalBytes(witness)),
  };
}

/**
 * Verifies a witnessed claim whole: its own signatures, its witness and the witness' time. A witness made
 * before the invite's end counts for ever, so every node that has the claim comes to the same answer.
 * @throws `CLAIM_FORGED`, `WITNESS_INVALID`
 */
export function verifyWitnessed(witnessed: WitnessedClaim, rules: WitnessRules, details?: ClaimDetails): void {
  const { claim, witness, keeper, keeperSignature } = witnessed;
  // Cheap checks first: a flood of claims by strangers then costs no signature check.
  if (!rules.witnesses.includes(keeper)) throw notWitnessed(claim, 'its witness is no pinned keeper');
  if (witness.claim !== hashClaim(claim)) throw notWitnessed(claim, 'the witness is about another claim');
  const timeMs = parseTime(witness.time);
  if (claim.invite !== null) {
    if (rules.inviteExpires === undefined) throw notWitnessed(claim, 'its place has no invite');
    if (timeMs >= parseTime(rules.inviteExpires)) throw notWitnessed(claim, 'witnessed after the invite had expired');
  }
  if (rules.now !== undefined && timeMs > rules.now + CLOCK_TOLERANCE_MS) {
    throw notWitnessed(claim, 'the witness lies more than five minutes ahead of this clock');
  }
  if (rules.proven?.has(witnessed) === true) {
    checkDetails(claim, details);
    return;
  }
  const key = keyOfNode(keeper);
  if (!verifySignature('moat/witness/1', canonicalBytes(witness), keeperSignature, key)) {
    throw notWitnessed(claim, 'not signed by its witness');
  }
  verifyClaim(witnessed, details);
  rules.proven?.add(witnessed);
}

/**
 * The member whose place this claim is for: the one with that invite, or the one pinned to that node, and
 * of the claimed name. Undefined when there is none. Checks no signature and no time.
 */
export function claimedMember(
  contract: Pick<Contract, 'deployment' | 'members'>,
  claim: Claim,
  details: ClaimDetails,
): Member | undefined {
  if (claim.deployment !== contract.deployment) return undefined;
  const member = contract.members.find(({ name }) => name === details.member);
  if (member === undefined) return undefined;
  const fits =
    claim.invite === null
      ? member.node === claim.node
      : member.node === undefined && member.invite?.key === claim.invite;
  return fits ? member : undefined;
}

/**
 * What a node asks of a claim it is shown before it keeps it and passes it on.
 * @param now milliseconds since 1970; when given, a witness more than five minutes ahead of it is refused.
 * @param proven as {@link WitnessRules.proven}.
 * @returns the member whose place it takes.
 * @throws `MEMBER_UNKNOWN` when this version has no such place, `CLAIM_FORGED`, `WITNESS_INVALID`
 */
export function verifyMemberClaim(
  contract: Pick<Contract, 'deployment' | 'members'>,
  memberClaim: MemberClaim,
  now?: number,
  proven?: WeakSet<WitnessedClaim>,
): Member {
  const { claim, details } = memberClaim;
  const member = claimedMember(contract, claim, details);
  if (member === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', 'the claim is for no place of this version', {
      details: { deployment: contract.deployment, node: claim.node, member: details.member },
    });
  }
  const inviteExpires = claim.invite === null ? undefined : member.invite?.expires;
  const rules: WitnessRules = {
    witnesses: witnessesOf(contract),
    ...(inviteExpires === undefined ? {} : { inviteExpires }),
    ...(now === undefined ? {} : { now }),
    ...(proven === undefined ? {} : { proven }),
  };
  verifyWitnessed(memberClaim, rules, details);
  return member;
}

function forged({ deployment, node }: Claim, reason: string): MoatError<'CLAIM_FORGED'> {
  return new MoatError('CLAIM_FORGED', `the claim is forged: ${reason}`, { details: { deployment, node } });
}

function notWitnessed({ deployment, node }: Claim, reason: string): MoatError<'WITNESS_INVALID'> {
  return new MoatError('WITNESS_INVALID', `the claim does not count: ${reason}`, { details: { deployment, node } });
}
