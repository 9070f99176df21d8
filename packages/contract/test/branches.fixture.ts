/** Forks of the fixture's deployment and what ends them. */
import {
  headHash,
  headOf,
  signHead,
  type Contract,
  type Head,
  type HeadProof,
  type MergedBranch,
} from '@moat/contract';
import { extendProof, mergedBranch, mergingHead, mergingVersion } from '@moat/contract';
import { genesis, type Identity, type Version } from './deployment.fixture.ts';

/** A version that ends a fork between `ours`, which goes on, and `theirs`. */
export function mergedVersion(
  ours: Version,
  theirs: Version,
  by: readonly Identity[],
  changes: Partial<Contract> = {},
): Version {
  const contract: Contract = { ...ours.contract, ...changes, version: mergingVersion(ours.proof, theirs.proof) };
  const head = mergingHead(contract, ours.proof, theirs.proof);
  return versionOf(ours.proof, contract, head, mergedBranch(ours.proof, theirs.proof), by);
}

/** As {@link mergedVersion}, with any head and branch: what an attacker could write. */
export function versionOf(
  before: HeadProof,
  contract: Contract,
  head: Head,
  merged: MergedBranch,
  by: readonly Identity[],
): Version {
  const signed = { head, signatures: by.map(({ signer }) => signHead(head, signer)) };
  const proof = extendProof(before, genesis, signed, contract.owners, merged);
  return { contract, head, signed, proof };
}

/** The head of a contract that claims to end what it likes. */
export function claimsToEnd(contract: Contract, previous: Head, merges: Head): Head {
  return headOf(contract, headHash(previous), headHash(merges));
}
