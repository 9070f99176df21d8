/** One owner's key replaced by another in every network of this machine. */
import type { DeploymentSummary } from '@moat/admin-api';
import { replaceOwner, type Contract } from '@moat/contract';
import { errorBody } from '../output/render-error.ts';
import { MoatError, isMoatError, type OwnerKey } from '@moat/core';
import type { OwnerKeyPair } from '@moat/identity';
import type { Context } from '../context.ts';
import { proposedOutcome } from '../output/proposal.ts';
import { loadAsOwner, type AsOwner } from '../owner/as-owner.ts';
import { loadDeployment } from './select.ts';
import { submitVersion, type Signers } from './submit.ts';

/** What became of it in one network. */
export interface Replaced {
  readonly deployment: string;
  readonly name: string;
  /** `waiting`: other owners have to sign. `there`: done before. */
  readonly state: 'replaced' | 'waiting' | 'there' | 'failed';
  /** In force, or proposed; null where it failed. */
  readonly version: number | null;
  /** Of a failure. */
  readonly code: string | null;
  readonly message: string | null;
}

export interface ReplaceRequest {
  /** Which owner's key goes; null where nothing is to be done. */
  readonly oldKey: (contract: Contract) => OwnerKey | null;
  readonly next: OwnerKeyPair;
  /** Sign besides the new key, and open the way to a keeper. */
  readonly signers: Signers;
  readonly among: readonly DeploymentSummary[];
}

/** One after the other; what fails in one network does not stop the others. */
export async function replaceEverywhere(context: Context, request: ReplaceRequest): Promise<readonly Replaced[]> {
  const all: Replaced[] = [];
  for (const { id, name, state } of request.among) {
    if (state === 'ended') continue;
    try {
      const done = await replaceIn(context, id, request);
      if (done !== null) all.push(done);
    } catch (error) {
      if (context.io.signal.aborted) throw error;
      const { code, message } = errorBody(error);
      all.push({ deployment: id, name, state: 'failed', version: null, code, message });
    }
  }
  return all;
}

/** Null where neither key is an owner's. */
async function replaceIn(
  context: Context,
  id: string,
  { oldKey, next, signers }: ReplaceRequest,
): Promise<Replaced | null> {
  await using view = await loadAsOneOf(context, id, [...signers, next]);
  const { contract } = view.current;
  const { name, version } = contract;
  const fine = { deployment: id, name, code: null, message: null };
  const gone = oldKey(contract);
  if (gone === null) {
    const isThere = contract.owners.keys.some(({ key }) => key === next.key);
    return isThere ? { ...fine, state: 'there', version } : null;
  }
  const changed = replaceOwner(contract, gone, { key: next.key });
  const submitted = await submitVersion(context, [...signers, next], view.current, changed);
  if (submitted.state === 'accepted') return { ...fine, state: 'replaced', version: submitted.accepted.version };
  context.progress.say(proposedOutcome(context.style, submitted.waiting, contract, null).text ?? '');
  return { ...fine, state: 'waiting', version: changed.version };
}

/** By the first key that a keeper lets in: after a run that was cut off only the new one may count. */
async function loadAsOneOf(context: Context, id: string, keys: readonly OwnerKeyPair[]): Promise<AsOwner> {
  const [first, ...others] = keys;
  if (first === undefined) throw new MoatError('KEY_FILE_MISSING', 'no key signs');
  try {
    return await loadAsOwner(context, loadDeployment, id, () => Promise.resolve(first));
  } catch (error) {
    if (others.length === 0 || !isMoatError(error, 'OWNER_KEY_FOREIGN')) throw error;
    return loadAsOneOf(context, id, others);
  }
}

/** True when the old key is needed nowhere any more. */
export function isComplete(all: readonly Replaced[]): boolean {
  return all.every(({ state }) => state === 'replaced' || state === 'there');
}

/** One line a network. */
export function replacedLines({ style }: Context, all: readonly Replaced[]): string[] {
  const marks = { replaced: style.ok, there: style.ok, waiting: style.attention, failed: style.fail };
  return all.map(({ name, state, version, code, message }) => {
    const says = {
      replaced: `version ${version}`,
      there: 'done before',
      waiting: `version ${version} waits for other owners`,
      failed: `${message}  ${style.dim(code ?? '')}`,
    };
    return `  ${marks[state]} ${name}  ${says[state]}`;
  });
}
