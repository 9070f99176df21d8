/** Waits until a version works on this machine: applied, and the names it serves are live. */
import type { DeploymentDetail } from '@moat/admin-api';
import { MoatError, sleep, systemClock } from '@moat/core';
import { proofRecordOf, recordText } from './own-host.ts';
import type { Context } from '../context.ts';

const POLL_MS = 50;
/** A refusal that stays so long is the gateway's answer to this version, not to the one before. */
const REFUSED_FOR_MS = 3_000;

type Publication = DeploymentDetail['publications'][number];

export interface WaitOptions {
  readonly timeoutMs: number;
  /** Names to wait for. @defaultValue every name this machine serves */
  readonly concerns?: (publication: Publication) => boolean;
  /** The caller takes a refused name back. @defaultValue false */
  readonly temporary?: boolean;
}

/** @throws `NOT_READY_IN_TIME`, or the code with which this machine refused the version or a gateway a name. */
export async function waitUntilApplied(
  context: Context,
  id: string,
  version: number,
  { timeoutMs, concerns = () => true, temporary = false }: WaitOptions,
): Promise<void> {
  const { io } = context;
  const deadline = io.now() + timeoutMs;
  const work = (async (): Promise<void> => {
    let refusedSince: number | undefined;
    for (;;) {
      const detail = await context.agent.deployment(id);
      const taken = isTaken(detail, version);
      const pending = detail.publications.filter(concerns).find(isPending);
      if (taken && pending === undefined) return;
      refusedSince = taken && pending?.state === 'refused' ? (refusedSince ?? io.now()) : undefined;
      if (pending && refusedSince !== undefined && io.now() - refusedSince > REFUSED_FOR_MS)
        throw refusedBy(pending, temporary);
      if (io.now() > deadline) {
        const open = taken && pending ? `${pending.name} at ${pending.gateway} is ${pending.state}` : 'not taken yet';
        throw new MoatError('NOT_READY_IN_TIME', `${detail.name} version ${version}: ${open}${reasonOf(pending)}`, {
          next: ['moat status', 'moat doctor'],
          retryable: true,
        });
      }
      await sleep(systemClock, POLL_MS, io.signal);
    }
  })();
  await context.progress.during(`waiting until version ${version} works here`, work);
}

/** A name that its line gives up is refused for good, as it should be. */
function isPending({ state, error }: Publication): boolean {
  return state !== 'live' && state !== 'waiting' && error?.code !== 'NAME_GIVEN';
}

function isTaken(detail: DeploymentDetail, version: number): boolean {
  const receipt = detail.receipts.find((one) => one.version === version);
  if (receipt !== undefined && receipt.result !== 'applied') {
    throw new MoatError(receipt.code ?? 'INTERNAL', receipt.message ?? `this machine ${receipt.result} the version`);
  }
  return detail.version >= version;
}

function refusedBy({ deployment, name, service, gateway, error }: Publication, temporary: boolean): MoatError {
  const other = [`moat publish ${service} --name ${name}-2 --gateway ${gateway}`];
  const record = proofRecordOf({ deployment, name, gateway });
  const proof = record === undefined ? [] : [...recordText(record, name, gateway), `moat names check ${name}`];
  const remedies: Readonly<Record<string, readonly string[]>> = {
    PROOF_MISSING: proof,
    PROOF_WRONG: proof,
    PROOF_UNCHECKED: proof,
    PUBLISHER_NOT_INVITED: [
      `send the operator of ${gateway} this line: moat gateway allow ${deployment}`,
      'or, with a code of theirs, run it again with --code-file FILE',
    ],
    PUBLISHER_REFUSED: [`ask the operator of ${gateway} to type: moat gateway allow ${deployment}`],
    HEAD_FORGED: [
      `if the owners were replaced and ${gateway} saw others' version first, send the operator of ${gateway} this line: moat gateway forget ${deployment}`,
    ],
    NAME_HELD: other,
    NAME_LIMIT: [
      'a name taken back counts for 30 days more: publish under it again, with --name',
      `or ask the operator of ${gateway} to type: moat gateway allow ${deployment} --names COUNT`,
    ],
  };
  return new MoatError(error?.code ?? 'INTERNAL', `${gateway} refuses ${name}${reasonOf({ error })}`, {
    reason: temporary ? 'nothing stays published' : reasonToWait(error?.code),
    next: [
      ...(remedies[error?.code ?? ''] ?? []),
      ...(temporary ? [] : ['moat names', `moat unpublish ${name} --gateway ${gateway}`]),
    ],
  });
}

function reasonToWait(code: string | undefined): string {
  if (code?.startsWith('PROOF_') === true)
    return 'it becomes public by itself, within a minute after the record is there';
  return 'the version is in force; only this name is not public';
}

function reasonOf(publication: Pick<Publication, 'error'> | undefined): string {
  return publication?.error ? `: ${publication.error.message}` : '';
}
