/** Versions that a quorum has signed, on their way into force. */
import { MoatError, isMoatError, type PeerId } from '@moat/core';
import {
  contractBytes,
  checkNextVersion,
  checkProvenVersion,
  extendProof,
  headHash,
  parseContract,
  sealedContract,
  verifyProof,
  type Contract,
  type MergedBranch,
  type Proposal,
  type SignedHead,
} from '@moat/contract';
import type { ShownVersion } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import { endsFork, forked } from '../deployments/fork-intake.ts';

export interface SignedVersion {
  readonly contract: Contract;
  readonly signed: SignedHead;
  /** The branch that ends, where the version ends a fork. */
  readonly merged?: MergedBranch;
}

/** What a proposal becomes: its version, and the seal after it where the owners change. */
export function versionsOf({ contract, head, signatures, seal, merged }: Proposal): readonly SignedVersion[] {
  const version = { contract, signed: { head, signatures }, ...(merged === undefined ? {} : { merged }) };
  return seal === undefined ? [version] : [version, { contract: sealedContract(contract), signed: seal }];
}

/**
 * The versions that are not in force here yet, checked one on top of the other, as others are shown them.
 * @throws `HEAD_FORKED` while a fork stands that they do not end, the codes of `checkNextVersion`
 */
export function shownVersions(deployment: Deployment, versions: readonly SignedVersion[]): readonly ShownVersion[] {
  let { contract, proof } = deployment;
  const begin = versions.findIndex(({ signed }) => headHash(signed.head) === deployment.head) + 1;
  const shown = versions.slice(begin).map((next) => {
    const { genesis } = proof;
    const extended = extendProof(proof, genesis, next.signed, next.contract.owners, next.merged);
    if (next.merged === undefined) checkNextVersion({ contract, head: proof.newest.head }, genesis, next);
    else checkProvenVersion({ contract, proof }, extended, next.contract);
    [contract, proof] = [next.contract, extended];
    return { proof, contract: contractBytes(contract) };
  });
  if (deployment.forked && !shown.some((version) => endsFork(version.proof, deployment))) throw forked(deployment);
  return shown;
}

/**
 * Takes a version here: one head a version, whoever comes second gets the conflict, and no fork is made of it.
 * @param from who brought it; this machine itself for its own.
 * @throws `VERSION_CONFLICT`, `HEAD_FORKED` while a fork stands, `DISK_FULL`, and the codes of `checkProvenVersion`
 */
export function takeVersion(deployments: Deployments, held: Deployment, shown: ShownVersion, from: PeerId): void {
  if (headHash(shown.proof.newest.head) === held.head) return;
  asConflict(held, () => {
    requireNewer(held, shown);
    deployments.adopt(from, { proof: shown.proof, contract: parseContract(shown.contract), claims: [] });
  });
}

/** The same without taking it: to ask before others are bothered with it. @throws as {@link takeVersion} */
export function checkShown(held: Deployment, shown: ShownVersion): void {
  asConflict(held, () => {
    requireNewer(held, shown);
    // A contract that nobody signed is not worth reading.
    const verified = verifyProof(shown.proof);
    checkProvenVersion(held, shown.proof, parseContract(shown.contract), verified);
  });
}

/** What needs no signature to be looked at. */
function requireNewer(held: Deployment, { proof }: ShownVersion): void {
  const { head } = proof.newest;
  if (head.deployment !== held.id) throw new MoatError('GENESIS_MISMATCH', 'the version is of another deployment');
  if (head.version <= held.contract.version) throw conflictOf(held, held.contract.version);
  if (held.forked && !endsFork(proof, held)) throw forked(held);
}

function asConflict(held: Deployment, work: () => void): void {
  const isForked = held.forked;
  try {
    work();
  } catch (error) {
    const isBeside = isMoatError(error, 'VERSION_OLD') || (isMoatError(error, 'HEAD_FORKED') && !isForked);
    throw isBeside ? conflictOf(held, held.contract.version, error) : error;
  }
}

/** What whoever comes second is told. */
export function conflictOf(
  { id, contract }: Deployment,
  version: number,
  cause?: unknown,
): MoatError<'VERSION_CONFLICT'> {
  return new MoatError('VERSION_CONFLICT', `another version ${version} of ${contract.name} was applied first`, {
    reason: 'a keeper takes one head a version; yours was made on top of an older one, and changed nothing',
    details: { deployment: id, version },
    next: ['moat plan', 'moat apply'],
    ...(cause === undefined ? {} : { cause }),
  });
}
