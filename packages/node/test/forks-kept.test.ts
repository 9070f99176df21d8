/** What the branches known here deny, whatever else is shown of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extendProof, headHash, headOf, sealedContract, signHead } from '@moat/contract';
import { createNodeKey, createOwnerKey } from '@moat/identity';
import { Deployment } from '../src/deployments/deployment.ts';
import { endsFork } from '../src/deployments/fork-intake.ts';
import { shownVersions } from '../src/owners/signed-version.ts';
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

test('owners who were replaced stop nobody between a change of owners and its seal', () => {
  const chain = new Chain(createNodeKey());
  chain.next();
  const base = chain.proof;
  const mia = createOwnerKey();
  const owners = { threshold: 1, keys: [{ name: 'mia', key: mia.key, weight: 1 }] };
  const beside = chain.next({ name: 'beside' }, { keep: false });
  const { contract, proof } = chain.next({ owners }, { keep: false });
  const { head, signatures } = proof.newest;
  const both = { head, signatures: [...signatures, signHead(head, mia.signer)] };
  const changed = { contract, proof: extendProof(base, chain.genesis, both, owners) };
  const seal = sealedContract(contract);
  const sealHead = headOf(seal, headHash(head));
  const signed = { head: sealHead, signatures: [signHead(sealHead, mia.signer)] };
  const sealed = extendProof(changed.proof, chain.genesis, signed, owners);

  const deployment = holding(chain, changed);
  deployment.takeFork(beside, Date.now());
  assert.equal(endsFork(sealed, deployment), true);
  const versions = [
    { contract, signed: both },
    { contract: seal, signed },
  ];
  assert.deepEqual(
    shownVersions(deployment, versions).map(({ proof: shown }) => shown),
    [sealed],
  );
  // On the other branch they are the owners, and what was signed beside it is a fork.
  const other = holding(chain, beside);
  other.takeFork(changed, Date.now());
  assert.equal(endsFork(sealed, other), false);
});
