/** Waiting for a version: a name that a gateway refuses is said at once, and only names that matter are waited for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeploymentDetail } from '@moat/admin-api';
import type { MoatError } from '@moat/core';
import type { Context } from '../src/context.ts';
import { waitUntilApplied, type WaitOptions } from '../src/deployment/wait-applied.ts';

/** An agent that always answers the same, with a clock that goes on by a second a question. */
function wait(publications: object[], options: Partial<WaitOptions> = {}): Promise<void> {
  let now = 0;
  const detail = { name: 'shop', version: 1, receipts: [], publications } as unknown as DeploymentDetail;
  const context = {
    io: { now: () => (now += 1_000), signal: new AbortController().signal },
    agent: { deployment: async () => detail },
    progress: { during: (_: string, work: Promise<void>) => work },
  } as unknown as Context;
  return waitUntilApplied(context, 'id', 1, { timeoutMs: 60_000, ...options });
}

const live = { name: 'chairs', gateway: 'localhost', state: 'live', error: null };
const held = {
  name: 'tables',
  gateway: 'localhost',
  state: 'refused',
  error: { code: 'NAME_HELD', message: 'the name is held' },
};

test('a refusal that stays is the code of the failure', async () => {
  await assert.rejects(wait([live, held]), { code: 'NAME_HELD' });
});

test('a name that does not matter is not waited for', async () => {
  await wait([live, held], { concerns: ({ name }) => name === 'chairs' });
});

test('what is only slow ends with the deadline', async () => {
  const connecting = { ...live, state: 'connecting' };
  await assert.rejects(wait([connecting]), { code: 'NOT_READY_IN_TIME', retryable: true });
});

test('a full quota says that names taken back still count', async () => {
  const full = { ...held, deployment: 'd1', error: { code: 'NAME_LIMIT', message: 'the deployment holds 1 name' } };
  await assert.rejects(wait([full]), (error: MoatError) => {
    assert.equal(error.code, 'NAME_LIMIT');
    assert.match(error.next.join('\n'), /30 days.*--name\n.*moat gateway allow d1 --names COUNT/);
    return true;
  });
});

test('who is refused for a head that others showed before is told what to send to the operator', async () => {
  const forged = { ...held, deployment: 'd1', error: { code: 'HEAD_FORGED', message: 'replaced before it' } };
  await assert.rejects(wait([forged]), (error: MoatError) => {
    assert.equal(error.code, 'HEAD_FORGED');
    assert.match(error.next.join('\n'), /send the operator of localhost .*: moat gateway forget d1\n/);
    return true;
  });
});

test('a name that is taken back again leaves nothing to take back', async () => {
  await assert.rejects(wait([held], { temporary: true }), (error: MoatError) => {
    assert.equal(error.reason, 'nothing stays published');
    assert.doesNotMatch(error.next.join(), /unpublish/);
    return true;
  });
});
