/** Which certificates a gateway wants of an authority, and what it makes of its challenges. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryCertificateStore, type ChallengeSolver } from '@moat/acme';
import { silentLogger, systemClock } from '@moat/core';
import { AcmeSource } from '../../src/certificates/acme.ts';
import { createBoardSolvers } from '../../src/certificates/board-solvers.ts';
import { ChallengeBoard, type ChallengeChange } from '../../src/certificates/challenge-board.ts';

const board = createBoardSolvers({ clock: systemClock, show: () => Promise.resolve() }, { http: true });
const zone: ChallengeSolver = {
  kind: 'dns-01',
  solves: (name) => name === 'apps.test' || name.endsWith('.apps.test'),
  present: () => Promise.resolve(),
  remove: () => Promise.resolve(),
};

async function wanted(
  hosts: readonly string[],
  solvers: readonly ChallengeSolver[],
  challenges?: readonly ['http-01'],
): Promise<readonly (readonly string[])[]> {
  const source = new AcmeSource(
    {
      clock: systemClock,
      logger: silentLogger,
      store: new MemoryCertificateStore(),
      solvers,
      hosts: () => hosts,
      changed: () => undefined,
    },
    // Nobody listens there.
    { domain: 'apps.test', authorities: [{ directory: 'https://127.0.0.1:1/dir' }], challenges },
  );
  await source.start({ signal: AbortSignal.timeout(5_000) });
  const names = source.list().map((each) => each.names);
  await source.stop();
  return names;
}

const HOSTS = ['shop.apps.test', 'www.shop.example', 'apps.test', 'tcp:15432', 'Bad..name'];

test('each name has its own where nothing proves a wildcard', async () => {
  assert.deepEqual(await wanted(HOSTS, board), [['apps.test'], ['shop.apps.test'], ['www.shop.example']]);
  assert.deepEqual((await wanted(HOSTS, [...board, zone], ['http-01'])).length, 3, 'or nothing is allowed to');
});

test('a wildcard covers all names below the domain, and hosts of others stand alone', async () => {
  assert.deepEqual(await wanted(HOSTS, [...board, zone]), [['*.apps.test', 'apps.test'], ['www.shop.example']]);
});

test('a proof is answered for its name and token only, as long as it is shown', async () => {
  const shown = new ChallengeBoard();
  const worker = new ChallengeBoard();
  const told: ChallengeChange[] = [];
  const solvers = createBoardSolvers(
    {
      clock: systemClock,
      show: (change) => {
        told.push(structuredClone(change));
        shown.apply(change);
        return Promise.resolve();
      },
    },
    { http: true },
  );
  const signal = AbortSignal.timeout(5_000);
  for (const [index, solver] of solvers.entries()) {
    assert.equal(solver.solves('shop.apps.test', true), false, 'a wildcard is proved by DNS alone');
    const token = `token-${index}`;
    await solver.present(
      { kind: solver.kind, name: 'shop.apps.test', token, keyAuthorization: `${token}.key` },
      signal,
    );
  }
  worker.apply(shown.whole());
  const path = '/.well-known/acme-challenge/token-1';
  for (const each of [shown, worker]) {
    assert.equal(each.answerTo('shop.apps.test', path), 'token-1.key');
    assert.equal(each.answerTo('other.apps.test', path), undefined);
    assert.equal(each.answerTo('shop.apps.test', '/.well-known/acme-challenge/token-0'), undefined, 'of another kind');
    assert.equal(each.answerTo('shop.apps.test', `${path}/..`), undefined);
    assert.ok(each.contextFor('shop.apps.test'));
    assert.equal(each.contextFor('other.apps.test'), undefined);
  }
  for (const [index, solver] of solvers.entries()) {
    const token = `token-${index}`;
    await solver.remove({ kind: solver.kind, name: 'shop.apps.test', token, keyAuthorization: '' });
  }
  for (const change of told.slice(2)) worker.apply(change);
  for (const each of [shown, worker]) {
    assert.equal(each.answerTo('shop.apps.test', path), undefined);
    assert.equal(each.contextFor('shop.apps.test'), undefined);
  }
});
