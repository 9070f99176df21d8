/** Random forks: whoever ends them, only a machine whose owners agreed follows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isMoatError } from '@moat/core';
import {
  canonicalize,
  checkProvenVersion,
  commonOwners,
  compareProof,
  hasQuorum,
  ownerSetOf,
  parseHeadProof,
  verifyProof,
  type Contract,
  type HeadProof,
  type OwnerSet,
} from '@moat/contract';
import { mergedVersion } from './branches.fixture.ts';
import {
  ana,
  ben,
  cleo,
  firstVersion,
  identity,
  nextVersion,
  ownedBy,
  type Identity,
  type Version,
} from './deployment.fixture.ts';

const people: readonly Identity[] = [ana, ben, cleo, identity('dora'), identity('emil')];
const everybody = people;

/** How a branch goes on: `null` keeps the owners, else a threshold and who is in. */
const step = fc.option(
  fc.record({ threshold: fc.integer({ min: 1, max: 2 }), who: fc.uniqueArray(fc.nat({ max: 4 }), { minLength: 2 }) }),
);
const steps = fc.array(step, { minLength: 1, maxLength: 4 });
type Step = { readonly threshold: number; readonly who: readonly number[] } | null;

function grown(from: Version, plan: readonly Step[], name: string): Version {
  return plan.reduce<Version>((before, change) => {
    const changes: Partial<Contract> =
      change === null
        ? { name }
        : { name, owners: ownedBy(change.threshold, Object.fromEntries(change.who.map((i) => [`o${i}`, person(i)]))) };
    return nextVersion(before, changes, everybody);
  }, from);
}

function person(i: number): Identity {
  return people[i] ?? ana;
}

function agreed(of: Version, owners: OwnerSet): boolean {
  return hasQuorum(of.head, of.signed.signatures, owners).met;
}

/** What a machine does with a proof it is offered. */
function taken(pinned: Version, offered: HeadProof, contract: Contract): boolean {
  try {
    return checkProvenVersion(pinned, offered, contract) !== 'same';
  } catch (error) {
    assert.ok(isMoatError(error), 'anything refused has a code');
    return false;
  }
}

const root = firstVersion();

test('a merge holds exactly when the owners of both branches and those before signed', () => {
  fc.assert(
    fc.property(steps, steps, steps, fc.subarray([0, 1, 2, 3, 4]), (trunk, one, other, signing) => {
      const base = grown(root, trunk, 'trunk');
      const ours = grown(base, one, 'ours');
      const theirs = grown(base, other, 'theirs');
      const merge = mergedVersion(ours, theirs, signing.map(person));
      const sets = [commonOwners(ours.proof, theirs.proof), ours.contract.owners, theirs.contract.owners].map(
        ownerSetOf,
      );
      const isAgreed = sets.every((owners) => agreed(merge, owners));
      let holds = true;
      try {
        verifyProof(merge.proof);
      } catch (error) {
        assert.ok(isMoatError(error));
        holds = false;
      }
      assert.equal(holds, isAgreed);
      // A machine at the newest head of either branch follows what holds, and nothing else.
      for (const pinned of [ours, theirs]) assert.equal(taken(pinned, merge.proof, merge.contract), isAgreed);
      if (!isAgreed) return;
      assert.deepEqual(parseHeadProof(canonicalize(merge.proof)), merge.proof);
      assert.equal(taken(base, merge.proof, merge.contract), true);
      const later = nextVersion(nextVersion(merge, {}, everybody), {}, everybody);
      for (const pinned of [base, ours, theirs, merge]) assert.equal(taken(pinned, later.proof, later.contract), true);
      // Whoever follows never goes back to the branch that ended.
      const beyond = grown(theirs, [null, null, null, null, null, null], 'beyond');
      assert.equal(taken(later, beyond.proof, beyond.contract), false);
      assert.equal(taken(merge, beyond.proof, beyond.contract), false);
    }),
    { numRuns: 60 },
  );
});

test('no part of a merging proof can be changed', () => {
  const ours = grown(root, [null, { threshold: 2, who: [0, 1, 3] }], 'ours');
  const theirs = grown(root, [{ threshold: 2, who: [0, 2, 4] }, null], 'theirs');
  const merge = mergedVersion(ours, theirs, everybody);
  const { proof } = nextVersion(merge, {}, everybody);
  const text = canonicalize(proof);
  const strings = [...text.matchAll(/"([\w:-]{20,})"/g)].map(
    (match) => [match.index + 1, match[1]?.length ?? 0] as const,
  );
  fc.assert(
    fc.property(fc.constantFrom(...strings), fc.nat(), ([at, length], offset) => {
      const i = at + (offset % length);
      const changed = text.slice(0, i) + (text[i] === 'A' ? 'B' : 'A') + text.slice(i + 1);
      try {
        const parsed = parseHeadProof(changed);
        verifyProof(parsed);
        // What is left are spare signatures: more signed than had to.
        assert.deepEqual(withoutSignatures(parsed), withoutSignatures(proof));
      } catch (error) {
        assert.ok(isMoatError(error), String(error));
      }
    }),
    { numRuns: 400 },
  );
});

test('moving parts of proofs about never makes a machine follow owners who did not agree', () => {
  const ours = grown(root, [{ threshold: 2, who: [0, 1, 3] }], 'ours');
  const theirs = grown(root, [{ threshold: 2, who: [0, 2, 4] }], 'theirs');
  const merges = [
    mergedVersion(ours, theirs, everybody),
    mergedVersion(theirs, ours, everybody),
    mergedVersion(ours, theirs, [ana, ben]),
  ];
  const heads = [root, ours, theirs, ...merges].map(({ signed }) => signed);
  const successions = [ours, theirs, ...merges].flatMap(({ proof }) => proof.successions);
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...successions), { maxLength: 4 }),
      fc.constantFrom(...heads),
      fc.nat({ max: 3 }),
      (shown, newest, shared) => {
        const offered: HeadProof = {
          ...root.proof,
          successions: shown.map((one) =>
            one.merged === undefined ? one : { ...one, merged: { ...one.merged, shared } },
          ),
          newest,
        };
        for (const pinned of [ours, theirs]) {
          try {
            verifyProof(offered);
          } catch (error) {
            assert.ok(isMoatError(error));
            continue;
          }
          if (!['next', 'newer'].includes(compareProof(pinned.proof, offered))) continue;
          const chain = [...offered.successions, offered.newest].find(({ head }) => head.version > pinned.head.version);
          assert.ok(chain);
          assert.ok(hasQuorum(chain.head, chain.signatures, ownerSetOf(pinned.contract.owners)).met);
        }
      },
    ),
    { numRuns: 500 },
  );
});

function withoutSignatures(value: unknown): string {
  return JSON.stringify(value, (key, inner: unknown) => (key === 'signatures' ? [] : inner));
}
