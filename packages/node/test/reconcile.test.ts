import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import { createNodeKey } from '@moat/identity';
import { Deployment } from '../src/deployments/deployment.ts';
import { Reconciler } from '../src/reconcile.ts';
import { Chain } from './chain.ts';

test('a version that cannot even be reported ends nothing, and the next one is followed', async () => {
  const key = createNodeKey();
  const { proof, contract } = new Chain(key).next();
  const stored = { id: contract.deployment, proof, contract, acceptedAt: 0, claims: [], forks: [] };
  // This machine has no place in it: nothing is to be opened.
  const deployment = new Deployment({ ...stored, age: { ageMs: 0, at: 0 } }, createNodeKey().peerId, Date.now());
  let isBroken = true;
  const told: number[] = [];
  const reconciler = new Reconciler(
    {
      deployments: { get: () => deployment, list: () => [deployment] },
      overlay: { viewChanged: () => undefined, announceHead: () => undefined, announceClaim: () => undefined },
      links: { recheck: () => undefined },
      publisher: { update: () => undefined, forget: () => undefined },
      receipts: {
        make: (_: Deployment, version: number) => {
          if (isBroken) throw new Error('disk I/O error');
          told.push(version);
        },
        ownOf: () => undefined,
      },
      exposed: { has: () => false },
      time: systemClock,
      logger: silentLogger,
      feed: { emit: () => undefined },
      store: { addReceipt: () => undefined, saveAge: () => undefined },
    } as never,
    { loopback: false },
  );
  await reconciler.follow({ deployment: deployment.id, kind: 'version' });
  isBroken = false;
  await reconciler.follow({ deployment: deployment.id, kind: 'version' });
  assert.deepEqual(told, [0]);
  await reconciler.stop();
});
