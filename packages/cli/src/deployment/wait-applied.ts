/** Waits until a version works on this machine: applied, and the names it serves are live. */
import type { DeploymentDetail } from '@moat/admin-api';
import { MoatError, sleep, systemClock } from '@moat/core';
import type { Context } from '../context.ts';

const POLL_MS = 50;

/** @throws `NOT_READY_IN_TIME`, or the code with which this machine refused the version. */
export async function waitUntilApplied(
  context: Context,
  id: string,
  version: number,
  timeoutMs: number,
): Promise<void> {
  const deadline = context.io.now() + timeoutMs;
  const work = (async (): Promise<void> => {
    for (;;) {
      const detail = await context.agent.deployment(id);
      const open = whatIsOpen(detail, version);
      if (open === undefined) return;
      if (context.io.now() > deadline) {
        throw new MoatError('NOT_READY_IN_TIME', `${detail.name} version ${version}: ${open}`, {
          next: ['moat status', 'moat doctor'],
          retryable: true,
        });
      }
      await sleep(systemClock, POLL_MS, context.io.signal);
    }
  })();
  await context.progress.during(`waiting until version ${version} works here`, work);
}

function whatIsOpen(detail: DeploymentDetail, version: number): string | undefined {
  const receipt = detail.receipts.find((one) => one.version === version);
  if (receipt !== undefined && receipt.result !== 'applied') {
    throw new MoatError(receipt.code ?? 'INTERNAL', receipt.message ?? `this machine ${receipt.result} the version`);
  }
  if (detail.version < version) return 'not taken yet';
  const pending = detail.publications.find(({ state }) => state !== 'live' && state !== 'waiting');
  if (pending === undefined) return undefined;
  return `${pending.name} at ${pending.gateway} is ${pending.state}${pending.error === null ? '' : `: ${pending.error.message}`}`;
}
