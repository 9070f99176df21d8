import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, canonicalize, parseContract, type Contract, type Member } from '@moat/contract';
import { contract } from './deployment.fixture.ts';

/** A contract's JSON with the members changed. */
function withMembers(change: (member: Member, i: number) => unknown): unknown {
  return { ...contract, members: contract.members.map((member, i) => change(structuredClone(member), i)) };
}

test('a member that stood like this before is the same object, and the rest of its contract is read anew', () => {
  const first = parseContract(canonicalBytes(contract));
  const next = parseContract(canonicalBytes({ ...contract, version: 9 }));
  assert.equal(next.version, 9);
  assert.equal(next.members.length, first.members.length);
  for (const [i, member] of next.members.entries()) assert.equal(member, first.members[i]);
  const changed = parseContract(withMembers((member, i) => (i === 0 ? { ...member, tags: ['new'] } : member)));
  assert.deepEqual(changed.members[0]?.tags, ['new']);
  assert.notEqual(changed.members[0], first.members[0]);
  assert.equal(changed.members[1], first.members[1]);
});

test('bytes of a contract are canonical whether its members were known or not, whatever order they came in', () => {
  const turned = (member: Member): unknown => Object.fromEntries(Object.entries(member).toReversed());
  const bytes = canonicalize(contract);
  for (const input of [contract, withMembers(turned), withMembers(turned), JSON.parse(bytes)]) {
    assert.equal(canonicalize(parseContract(input)), bytes);
  }
});

test('what is wrong with a member is found beside members that are known, and at its place', () => {
  parseContract(contract);
  const last = contract.members.length - 1;
  const wrong = (change: object): unknown =>
    withMembers((member, i) => (i === last ? { ...member, ...change } : member));
  const cases: readonly (readonly [object, string, string])[] = [
    [{ name: 'No Label' }, 'CONTRACT_INVALID', `members[${last}].name`],
    [{ ipv4: 7 }, 'CONTRACT_INVALID', `members[${last}].ipv4`],
    [{ color: 'red' }, 'CONTRACT_TOO_NEW', `members[${last}]`],
  ];
  for (const [change, code, path] of cases) {
    for (let again = 0; again < 2; again++) {
      assert.throws(
        () => parseContract(wrong(change)),
        (error) => {
          const { code: found, details } = error as { code: string; details: { path: string } };
          assert.deepEqual([found, details.path], [code, path]);
          return true;
        },
      );
    }
  }
});

test('nobody changes a member that contracts to come share', () => {
  const { members } = parseContract(contract) as unknown as { members: { name: string; tags: string[] }[] };
  const [member] = members;
  assert.ok(member);
  assert.throws(() => (member.name = 'other'), TypeError);
  assert.throws(() => member.tags.push('other'), TypeError);
});

test('a member that somebody else froze is judged like any other', () => {
  const wrong = withMembers((member, i) => Object.freeze(i === 0 ? { ...member, name: 'No Label' } : member));
  assert.throws(() => parseContract(wrong), { code: 'CONTRACT_INVALID' });
});

test('members beyond those of two contracts are judged again', () => {
  const [first] = parseContract(contract).members;
  const crowd = (from: number): Member[] =>
    Array.from({ length: 2_047 }, (_, i) => ({ name: `m-${from + i}`, ipv4: '10.77.9.9', tags: [] }));
  const read = (from: number): Contract => parseContract({ ...contract, members: crowd(from) });
  for (let from = 0; from < 10_000; from += 2_047) read(from);
  assert.notEqual(parseContract(contract).members[0], first);
});
