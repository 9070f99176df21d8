/** Ending a fork: which history goes on, what the other says, and the version that both sides' owners have to sign. */
import {
  mergingVersion,
  parseContract,
  parseHeadProof,
  planChanges,
  type Contract,
  type HeadProof,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import { ownerNames } from '../output/proposal.ts';
import { renderPlan } from '../output/render-plan.ts';
import type { LoadedDeployment } from './select.ts';

/** The history that ends, as far as this machine knows it. */
export interface OtherBranch {
  readonly proof: HeadProof;
  /** Null while nobody has given it to this machine. */
  readonly contract: Contract | null;
}

/**
 * Null where there is no fork.
 * @throws `HEAD_FORKED` where the owners have ended it already, on neither of the branches known here.
 */
export async function otherBranch(
  { agent }: Context,
  { detail, proof }: LoadedDeployment,
): Promise<OtherBranch | null> {
  if (detail.state !== 'forked') return null;
  const other = (await agent.branches(detail.id)).find(({ own }) => !own);
  if (other === undefined) return null;
  const theirs = parseHeadProof(other.proof);
  const { version } = proof.newest.head;
  if (theirs.successions.some(({ head, merged }) => merged !== undefined && head.version > version)) {
    throw new MoatError(
      'HEAD_FORKED',
      `the owners have ended the fork of ${detail.name} without this machine's version`,
      {
        next: ['moat join TOKEN-FILE   with a newer token of an owner'],
      },
    );
  }
  return { proof: theirs, contract: other.contract === null ? null : parseContract(other.contract) };
}

/**
 * The history that goes on and the one that ends: this machine's goes on, save where it has no place in the network. An
 * owner's machine is alone with what it holds; the keepers take only what follows theirs.
 */
export function sidesOf(
  held: LoadedDeployment,
  other: OtherBranch | null,
): { readonly current: LoadedDeployment; readonly other: OtherBranch | null } {
  if (held.detail.member !== null || other === null || other.contract === null) return { current: held, other };
  const { contract, proof } = held;
  return { current: { ...held, contract: other.contract, proof: other.proof }, other: { contract, proof } };
}

/** What `contract` says, as the version that ends the fork. */
export function endingVersion(contract: Contract, current: LoadedDeployment, other: OtherBranch): Contract {
  return { ...contract, version: mergingVersion(current.proof, other.proof) };
}

/**
 * Shows both histories and has it confirmed that `contract` is to be the one from now on.
 * @param agreed by a flag; nothing else stands in for it where nobody can be asked.
 * @throws `HEAD_FORKED`, `DECLINED`
 */
export async function confirmEnding(
  context: Context,
  current: LoadedDeployment,
  other: OtherBranch,
  contract: Contract,
  { agreed, yes }: { readonly agreed: boolean; readonly yes: boolean },
): Promise<void> {
  const { io, style, prompt, json } = context;
  const { version, name } = current.contract;
  const signedBy = ({ newest }: HeadProof, known: Contract | null): string =>
    ownerNames(
      newest.signatures.map(({ key }) => key),
      known,
      current.contract,
    ).join(', ');
  if (!agreed && (yes || !prompt.interactive)) {
    throw new MoatError(
      'HEAD_FORKED',
      `the owners signed two histories of ${name}: every change has to end that first`,
      {
        reason: `here version ${version}, signed by ${signedBy(current.proof, current.contract)}; elsewhere version ${other.proof.newest.head.version}, signed by ${signedBy(other.proof, other.contract)}`,
        next: ['moat apply --end-fork   makes what moat.yaml says the one history', 'moat status -d'],
      },
    );
  }
  if (!json) {
    const theirs = other.contract === null ? null : planChanges(other.contract, contract);
    io.stdout.write(
      `${style.attention} ${name} has two histories. This version makes what the file says the one that goes on.\n`,
    );
    if (other.contract !== null && theirs !== null) {
      io.stdout.write(`Against the other one, signed by ${signedBy(other.proof, other.contract)}:\n`);
      io.stdout.write(`${renderPlan(theirs, other.contract, contract, style)}\n`);
    } else {
      io.stdout.write(`${style.attention} what the other one says is not known here\n`);
    }
  }
  if (!agreed) await prompt.confirm('End the fork with it?', []);
}
