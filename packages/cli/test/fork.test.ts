import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Contract, HeadProof } from '@moat/contract';
import { sidesOf, type OtherBranch } from '../src/deployment/fork.ts';
import type { LoadedDeployment } from '../src/deployment/select.ts';

function held(member: string | null): LoadedDeployment {
  const [contract, proof] = [{ name: 'here' } as Contract, { genesis: {} } as HeadProof];
  return { detail: { member }, contract, proof, claims: [] } as unknown as LoadedDeployment;
}

const THERE = { contract: { name: 'there' }, proof: {} } as unknown as OtherBranch;

test('what ends a fork follows the keepers where this machine has no place, and this machine otherwise', () => {
  const member = sidesOf(held('ana'), THERE);
  assert.equal(member.current.contract.name, 'here');
  assert.equal(member.other, THERE);
  const owner = sidesOf(held(null), THERE);
  assert.deepEqual([owner.current.contract.name, owner.current.proof], ['there', THERE.proof]);
  assert.equal(owner.other?.contract?.name, 'here');
});

test('without a fork, or with a branch that is not known whole, it follows what is held here', () => {
  const unknown: OtherBranch = { ...THERE, contract: null };
  for (const other of [null, unknown]) {
    const sides = sidesOf(held(null), other);
    assert.equal(sides.current.contract.name, 'here');
    assert.equal(sides.other, other);
  }
});
