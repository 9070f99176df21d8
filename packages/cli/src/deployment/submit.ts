/**
 * A new version: signed by the owner at hand, then given to this machine's agent. Where that is a quorum it is in force;
 * otherwise it waits as a proposal, at the keepers or in a file, for the other owners.
 */
import type { ProposalPut, VersionAccepted } from '@moat/admin-api';
import {
  proposalId,
  proposalOf,
  proposalOwners,
  proposalStanding,
  sealedContract,
  signProposal,
  type Contract,
  type Genesis,
  type HeadProof,
  type Proposal,
  type ProposalBase,
  type ProposalStanding,
} from '@moat/contract';
import { MoatError, isMoatError, type Hash, type OwnerKey } from '@moat/core';
import type { OwnerKeyPair } from '@moat/identity';
import type { Context } from '../context.ts';
import { ownerAccess } from '../owner/as-owner.ts';
import { heldOf, type LoadedDeployment } from './select.ts';

/** What a version follows: the one that runs, or the genesis of a new deployment. */
export type Predecessor = LoadedDeployment | { readonly genesis: Genesis };

export interface SubmitOptions {
  /** The newest proof of the other branch of a fork, which this version ends. */
  readonly ends?: HeadProof;
  /** Take it although no keeper is in reach. */
  readonly offline?: boolean;
  /** What it follows, where that is not the version in force here: the other branch of a fork. */
  readonly base?: ProposalBase;
  /** Where a proposal goes besides the keepers; then these need not be in reach. */
  readonly keep?: (proposal: Proposal) => Promise<void>;
}

/** A version that waits for signatures. */
export interface Waiting {
  readonly id: Hash;
  readonly proposal: Proposal;
  readonly standing: ProposalStanding;
  /** False when it is in a file only. */
  readonly atKeepers: boolean;
}

/** Keys at hand; a keeper is shown the first. */
export type Signers = readonly [OwnerKeyPair, ...OwnerKeyPair[]];

/** What became of a version. */
export type Submitted =
  | { readonly state: 'accepted'; readonly accepted: VersionAccepted }
  | { readonly state: 'waiting'; readonly waiting: Waiting };

/**
 * Signs `contract` with every key at hand and has the agent take it, or pass it on to be signed by others.
 * @throws `OWNER_KEY_FOREIGN`, `QUORUM_MISSING` for a new deployment, `APPLIED_IN_BETWEEN`, and what the agent answers.
 */
export async function submitVersion(
  context: Context,
  signers: Signers,
  predecessor: Predecessor,
  contract: Contract,
  options: SubmitOptions = {},
): Promise<Submitted> {
  const proposal = signVersion(signers, predecessor, contract, options.ends);
  if (!('genesis' in predecessor)) return giveProposal(context, signers, predecessor, proposal, options);
  const { head, signatures } = proposal;
  const { agent, progress, io } = context;
  const request = { genesis: { ...predecessor.genesis }, contract: { ...contract }, signed: { head, signatures } };
  const creating = agent.createDeployment(request, { signal: io.signal });
  return { state: 'accepted', accepted: await progress.during('creating the deployment', creating) };
}

/** The version as a proposal with the signatures of `signers`. @throws `OWNER_KEY_FOREIGN`, `QUORUM_MISSING` */
export function signVersion(
  signers: readonly OwnerKeyPair[],
  predecessor: Predecessor,
  contract: Contract,
  ends?: HeadProof,
): Proposal {
  const isFirst = 'genesis' in predecessor;
  const held = isFirst ? null : heldOf(predecessor);
  const unsigned = proposalOf(held, contract, ends === undefined ? {} : { ends });
  const deciding = decidingKeys(unsigned, held);
  for (const { key } of signers) {
    if (deciding.has(key)) continue;
    throw new MoatError('OWNER_KEY_FOREIGN', `${key} is no owner of ${contract.name}`, {
      next: ['name the key of an owner with --key FILE'],
    });
  }
  const proposal = signers.reduce((signed, { signer }) => signProposal(signed, signer), unsigned);
  const { met, weight, threshold } = proposalStanding(proposal, held);
  if (!isFirst || met) return proposal;
  throw new MoatError('QUORUM_MISSING', `version 0 has ${weight} of ${threshold} signatures`, {
    reason: 'a new deployment begins with one signature; it asks for more from its next version on',
    next: ['owners: { threshold: 1, … } first, moat apply', 'then the threshold you want, moat apply, and moat sign'],
  });
}

/** Everybody who has a say: owners before and after, and where it ends a fork those of both branches. */
export function decidingKeys(proposal: Proposal, held: ProposalBase | null): ReadonlySet<OwnerKey> {
  const { before, next, common = next, other = next } = proposalOwners(proposal, held);
  return new Set([before, next, common, other].flatMap(({ keys }) => keys.map(({ key }) => key)));
}

/**
 * Has the agent take a proposal that is signed by all it takes, and leaves any other at the keepers.
 * @throws `APPLIED_IN_BETWEEN`, and what the agent answers.
 */
export async function giveProposal(
  context: Context,
  [owner]: Signers,
  current: LoadedDeployment,
  proposal: Proposal,
  { offline = false, keep, base = heldOf(current) }: SubmitOptions = {},
): Promise<Submitted> {
  const standing = proposalStanding(proposal, base);
  await using access = await ownerAccess(context, owner, current.detail);
  try {
    if (standing.met && !isForKeepers(current, proposal))
      return { state: 'accepted', accepted: await applyNow(context, current, proposal, offline) };
    await keep?.(proposal);
    const put = await leaveAtKeepers(context, current, proposal, keep !== undefined);
    if (put !== null && put.applied !== null) return { state: 'accepted', accepted: put.applied };
    const waiting = { id: proposalId(proposal), proposal, standing, atKeepers: put !== null };
    return { state: 'waiting', waiting };
  } catch (error) {
    if (isMoatError(error, 'OWNER_SESSION_NEEDED')) throw access.failure ?? error;
    if (isMoatError(error, 'STREAM_ENDED') && standing.met && isDropped(owner, proposal)) {
      const { progress, style } = context;
      progress.say(
        `${style.attention} the keeper let go of this key before it answered, as it does once it is no owner's`,
      );
      return { state: 'waiting', waiting: { id: proposalId(proposal), proposal, standing, atKeepers: true } };
    }
    if (!isMoatError(error) || !OVERTAKEN.includes(error.code)) throw error;
    throw appliedInBetween(proposal.contract, error);
  }
}

/**
 * Signed by all it takes, and yet the keepers' to apply: what ends a fork has to show the branch that it ends, and a
 * change of owners may shut out the very machine that brings it, before the seal.
 */
function isForKeepers({ detail }: LoadedDeployment, { merged, seal }: Proposal): boolean {
  return merged !== undefined || (seal !== undefined && !detail.keeper);
}

/** Whose signature is the last that counts: the keeper ends the connection with the owner. */
function isDropped({ key }: OwnerKeyPair, { contract }: Proposal): boolean {
  return contract.owners.keys.every((owner) => owner.key !== key);
}

/** Another version came first. */
const OVERTAKEN: readonly string[] = [
  'VERSION_OLD',
  'VERSION_GAP',
  'HEAD_FORKED',
  'VERSION_CONFLICT',
  'PROPOSAL_STALE',
];

async function applyNow(
  context: Context,
  { detail: { id } }: LoadedDeployment,
  { contract, head, signatures, seal }: Proposal,
  offline: boolean,
): Promise<VersionAccepted> {
  const { agent, progress, io } = context;
  const request = {
    contract: { ...contract },
    signed: { head, signatures },
    ...(seal === undefined ? {} : { seal: { ...seal } }),
    ...(offline ? { offline } : {}),
  };
  const call = { signal: io.signal };
  const accepted = await progress.during('giving the version to the agent', agent.submitVersion(id, request, call));
  if (seal === undefined || accepted.version > contract.version) return accepted;
  // Until then those who were replaced could sign another version beside this one.
  const sealing = { contract: { ...sealedContract(contract) }, signed: { ...seal }, ...(offline ? { offline } : {}) };
  return progress.during('sealing the change of owners', agent.submitVersion(id, sealing, call));
}

/** Null when no keeper took it and a file has it. */
async function leaveAtKeepers(
  { agent, progress, io, style }: Context,
  { detail: { id } }: LoadedDeployment,
  proposal: Proposal,
  isKept: boolean,
): Promise<ProposalPut | null> {
  const request = { proposal: { ...proposal } };
  try {
    return await progress.during(
      'leaving the proposal at the keepers',
      agent.putProposal(id, request, { signal: io.signal }),
    );
  } catch (error) {
    // A keeper on the other branch of a fork cannot hold what ends it.
    const isOver = proposal.merged === undefined && isMoatError(error) && OVERTAKEN.includes(error.code);
    if (!isKept || !isMoatError(error) || isOver) throw error;
    progress.say(`${style.attention} no keeper has it: ${error.message}  ${style.dim(error.code)}`);
    return null;
  }
}

/**
 * Before a version is made that others would have to sign too.
 * @throws `QUORUM_MISSING` when `key` is an owner's that does not decide alone
 */
export function requireAlone({ contract }: LoadedDeployment, key: OwnerKey): void {
  const { threshold, keys } = contract.owners;
  const weight = keys.find((owner) => owner.key === key)?.weight ?? 0;
  if (weight === 0 || weight >= threshold) return;
  throw new MoatError('QUORUM_MISSING', `changes of ${contract.name} take more signatures than yours`, {
    reason: `your signature counts ${weight} of ${threshold}; nothing was signed, and nothing left this machine`,
    next: [
      `moat fmt --from-contract -n ${contract.name} > moat.yaml   then write the service and its name into it`,
      'moat apply   leaves it at the keepers for the other owners to sign',
    ],
  });
}

/** For what only makes sense at once. @throws `QUORUM_MISSING` */
export function requireAccepted(submitted: Submitted): VersionAccepted {
  if (submitted.state === 'accepted') return submitted.accepted;
  const { standing, id } = submitted.waiting;
  throw new MoatError(
    'QUORUM_MISSING',
    `signed by ${standing.weight} of ${standing.threshold}: other owners must sign`,
    {
      next: [`moat sign ${id}   on the machine of another owner`, 'moat proposals'],
    },
  );
}

export function appliedInBetween(contract: Contract, cause?: unknown): MoatError {
  return new MoatError(
    'APPLIED_IN_BETWEEN',
    `somebody applied version ${contract.version} of ${contract.name} before you`,
    {
      cause,
      reason: 'your version was made on top of the one before; nothing was changed',
      next: ['moat plan', 'moat apply'],
    },
  );
}
