/** A new version: signed by the owner at hand, checked, given to this machine's agent. */
import type { VersionAccepted } from '@moat/admin-api';
import {
  hasQuorum,
  headHash,
  headOf,
  ownerSetOf,
  signHead,
  type Contract,
  type Genesis,
  type SignedHead,
} from '@moat/contract';
import { MoatError, isMoatError } from '@moat/core';
import type { OwnerKeyPair } from '@moat/identity';
import type { Context } from '../context.ts';
import type { LoadedDeployment } from './select.ts';

/** What a version follows: the one that runs, or the genesis of a new deployment. */
export type Predecessor = LoadedDeployment | { readonly genesis: Genesis };

/**
 * Signs `contract` and has the agent take it.
 * @throws `OWNER_KEY_FOREIGN`, `QUORUM_MISSING`, `APPLIED_IN_BETWEEN`, and what the agent answers.
 */
export async function submitVersion(
  context: Context,
  owner: OwnerKeyPair,
  predecessor: Predecessor,
  contract: Contract,
): Promise<VersionAccepted> {
  const signed = signVersion(owner, predecessor, contract);
  const documents = { contract: { ...contract }, signed: { ...signed } };
  const { agent, progress, io } = context;
  const call = { signal: io.signal };
  if ('genesis' in predecessor) {
    const request = { genesis: { ...predecessor.genesis }, ...documents };
    return progress.during('creating the deployment', agent.createDeployment(request, call));
  }
  const { id } = predecessor.detail;
  try {
    return await progress.during('giving the version to the agent', agent.submitVersion(id, documents, call));
  } catch (error) {
    if (!isMoatError(error) || !['VERSION_OLD', 'VERSION_GAP', 'HEAD_FORKED'].includes(error.code)) throw error;
    throw appliedInBetween(contract, error);
  }
}

/** @throws `OWNER_KEY_FOREIGN`, `QUORUM_MISSING` */
export function signVersion(owner: OwnerKeyPair, predecessor: Predecessor, contract: Contract): SignedHead {
  const isFirst = 'genesis' in predecessor;
  const previous = isFirst ? null : headHash(predecessor.proof.newest.head);
  const head = headOf(contract, previous);
  const signatures = [signHead(head, owner.signer)];
  // A version needs the owners before it; one that changes them needs the new ones too.
  const before = isFirst ? predecessor.genesis.owners : ownerSetOf(predecessor.contract.owners);
  for (const owners of [before, ownerSetOf(contract.owners)]) {
    if (!owners.keys.some(({ key }) => key === owner.key)) {
      throw new MoatError('OWNER_KEY_FOREIGN', `${owner.key} is no owner of ${contract.name}`, {
        next: ['name the key of an owner with --key FILE'],
      });
    }
    const { met, weight } = hasQuorum(head, signatures, owners);
    if (met) continue;
    throw new MoatError(
      'QUORUM_MISSING',
      `version ${contract.version} has ${weight} of ${owners.threshold} signatures`,
      {
        reason: 'your key alone does not reach the threshold; collecting the others’ signatures comes with moat sign',
      },
    );
  }
  return { head, signatures };
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
