/** What the branches known here deny, whatever else is shown of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNodeKey } from '@moat/identity';
import { Deployment } from '../src/deployments/deployment.ts';
import { Chain, type Version } from './chain.ts';

/** A keeper that holds `own`. */
function holding(chain: Chain, { proof, contract }: Version): Deployment {
  const now = Date.now();
  const age = { ageMs: 0, at: now };
  const stored = { id: contract.deployment, proof, contract, acceptedAt: now, claims: [], forks: [], age };
  return new Deployment(stored, chain.keeper.peerId, now);
}

test('a branch that goes on denies what it removed until its newer contract is known', () => {
  const chain = new Chain(createNodeKey());
  const { contract } = chain.next();
  const deployment = holding(chain, chain.next({ name: 'ours' }, { keep: false }));
  const home = contract.members.filter(({ name }) => name === 'home');
  const removing = chain.next({ members: home });
  const later = chain.next({ members: home, name: 'later' });
  const hasLaptop = (): boolean => deployment.view.places.has('laptop');
  assert.equal(hasLaptop(), true);
  deployment.takeFork(removing, Date.now());
  assert.equal(hasLaptop(), false);
  // Whoever was removed shows the newer head and keeps its contract back.
  deployment.takeFork({ proof: later.proof, contract: null }, Date.now());
  assert.equal(hasLaptop(), false);
  deployment.takeFork(later, Date.now());
  assert.equal(hasLaptop(), false);
  assert.deepEqual(deployment.forks.list(), [later]);
});
