import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import { createNodeKey } from '@moat/identity';
import { Deployment } from '../src/deployments/deployment.ts';
import { Reconciler } from '../src/reconcile.ts';
import { Chain } from './chain.ts';

/** A reconciler of one deployment in which this machine has no place: nothing is to be opened. */
function bench(receipts: {
  make(deployment: Deployment, version: number): void;
  ownOf(): { head: string } | undefined;
}) {
  const { proof, contract } = new Chain(createNodeKey()).next();
  const stored = { id: contract.deployment, proof, contract, acceptedAt: 0, claims: [], forks: [] };
  const deployment = new Deployment({ ...stored, age: { ageMs: 0, at: 0 } }, createNodeKey().peerId, Date.now());
  const reconciler = new Reconciler(
    {
      deployments: { get: () => deployment, list: () => [deployment] },
      overlay: { viewChanged: () => undefined, announceHead: () => undefined, announceClaim: () => undefined },
      links: { recheck: () => undefined },
      publisher: { update: () => undefined, forget: () => undefined },
      receipts,
      wireguard: { follow: () => undefined, attach: () => Promise.resolve(), detach: () => Promise.resolve() },
      insides: { serveNames: () => Promise.resolve() },
      exposed: { has: () => false },
      time: systemClock,
      logger: silentLogger,
      feed: { emit: () => undefined },
      store: { addReceipt: () => undefined, saveAge: () => undefined },
    } as never,
    { loopback: false },
  );
  return { deployment, reconciler };
}

test('a version that cannot even be reported ends nothing, and the next one is followed', async () => {
  let isBroken = true;
  const told: number[] = [];
  const { deployment, reconciler } = bench({
    make: (_, version) => {
      if (isBroken) throw new Error('disk I/O error');
      told.push(version);
    },
    ownOf: () => undefined,
  });
  await reconciler.follow({ deployment: deployment.id, kind: 'version' });
  isBroken = false;
  await reconciler.follow({ deployment: deployment.id, kind: 'version' });
  assert.deepEqual(told, [0]);
  await reconciler.stop();
});

test('what a crash left unsaid about a version is said at the next start, once', async () => {
  const told: string[] = [];
  const { reconciler } = bench({
    make: ({ head }) => void told.push(head),
    ownOf: () => told.map((head) => ({ head }))[0],
  });
  await reconciler.start();
  await reconciler.start();
  assert.equal(told.length, 1);
  await reconciler.stop();
});
