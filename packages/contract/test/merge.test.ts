/** How forks end: a head that both branches' owners and those before them signed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  CONTRACT_LIMITS,
  canonicalize,
  checkNextVersion,
  checkProvenVersion,
  commonOwners,
  compareHeads,
  compareProof,
  extendProof,
  headHash,
  mergedBranch,
  mergingHead,
  ownerSetOf,
  parseHeadProof,
  verifyProof,
  type HeadProof,
  type MergedBranch,
} from '@moat/contract';
import { claimsToEnd, mergedVersion, versionOf } from './branches.fixture.ts';
import {
  ana,
  ben,
  cleo,
  firstVersion,
  genesis,
  identity,
  nextVersion,
  ownedBy,
  stranger,
  type Identity,
  type Version,
} from './deployment.fixture.ts';

const v0 = firstVersion();
const v1 = nextVersion(v0);
/** Two owners applied at once: the same owners, two heads of version 2. */
const left = nextVersion(v1, { name: 'left' }, [ana, ben]);
const right = nextVersion(v1, { name: 'right' }, [ben, cleo]);
const healed = mergedVersion(left, right, [ana, ben]);
const after = nextVersion(healed);
const later = nextVersion(nextVersion(after));

/** One branch replaced cleo by the stranger's key, the other ben by zoe's. */
const zoe = identity('zoe');
const ours = nextVersion(
  nextVersion(v1, { owners: ownedBy(2, { ana, ben, dora: stranger }) }, [ana, ben, stranger]),
  {},
  [ana, stranger],
);
const theirs = nextVersion(v1, { owners: ownedBy(2, { ana, cleo, zoe }) }, [ana, cleo, zoe]);
const everybody = [ana, ben, cleo, stranger, zoe];
const crossed = mergedVersion(ours, theirs, everybody);

/** The proof with its last succession, the merge, altered; `newest` follows where it is that head. */
function altered(of: Version, change: Partial<MergedBranch>): HeadProof {
  const successions = of.proof.successions.map((one, i, all) =>
    i === all.length - 1 && one.merged !== undefined ? { ...one, merged: { ...one.merged, ...change } } : one,
  );
  return { ...of.proof, successions };
}

describe('a fork', () => {
  it('is ended by a head that names both branches', () => {
    assert.equal(compareProof(left.proof, right.proof), 'fork');
    assert.equal(healed.head.version, 3);
    assert.equal(healed.head.previous, headHash(left.head));
    assert.equal(healed.head.merges, headHash(right.head));
    const proof = parseHeadProof(canonicalize(healed.proof));
    assert.deepEqual(proof, healed.proof);
    assert.deepEqual(verifyProof(proof).owners, ownerSetOf(v0.contract.owners));
  });

  it('ends for machines on either branch, at once and later', () => {
    for (const branch of [left, right]) {
      assert.equal(compareHeads(branch.signed, healed.signed), 'next');
      assert.equal(checkProvenVersion(branch, healed.proof, healed.contract), 'next');
      for (const version of [after, later]) {
        assert.equal(checkProvenVersion(branch, version.proof, version.contract), 'newer');
      }
    }
    assert.equal(checkProvenVersion(healed, after.proof, after.contract), 'next');
    assert.equal(checkProvenVersion(v1, later.proof, later.contract), 'newer');
    assert.equal(checkProvenVersion(null, later.proof, later.contract), 'first');
  });

  it('ends where branches differ in length and in owners', () => {
    assert.equal(crossed.head.version, 4);
    assert.deepEqual(commonOwners(ours.proof, theirs.proof), ownerSetOf(v0.contract.owners));
    assert.deepEqual(commonOwners(theirs.proof, ours.proof), ownerSetOf(v0.contract.owners));
    const next = nextVersion(crossed, {}, [ana, stranger]);
    assert.deepEqual(verifyProof(next.proof).owners, ownerSetOf(ours.contract.owners));
    for (const branch of [ours, theirs]) {
      checkProvenVersion(branch, crossed.proof, crossed.contract);
      assert.equal(checkProvenVersion(branch, next.proof, next.contract), 'newer');
    }
    // The other way round: the shorter branch goes on, so the version leaps.
    const other = mergedVersion(theirs, ours, everybody);
    assert.equal(other.head.version, 4);
    assert.equal(checkProvenVersion(theirs, other.proof, other.contract), 'newer');
    assert.equal(checkProvenVersion(ours, other.proof, other.contract), 'next');
  });

  it('may bring in new owners, who sign too', () => {
    const owners = ownedBy(1, { zoe });
    const moved = mergedVersion(left, right, [ana, ben, zoe], { owners });
    assert.deepEqual(verifyProof(moved.proof).owners, ownerSetOf(owners));
    assert.throws(() => verifyProof(mergedVersion(left, right, [ana, ben], { owners }).proof), {
      code: 'QUORUM_MISSING',
    });
  });

  it('of three branches is ended one after the other', () => {
    const third = nextVersion(v1, { name: 'third' });
    const whole = mergedVersion(healed, third, [ana, ben]);
    assert.equal(whole.head.version, 4);
    assert.equal(compareProof(third.proof, healed.proof), 'fork');
    assert.equal(checkProvenVersion(healed, whole.proof, whole.contract), 'next');
    for (const pinned of [left, right, third]) {
      assert.equal(checkProvenVersion(pinned, whole.proof, whole.contract), 'newer');
    }
  });

  it('is no fork between a head and itself, or the one before', () => {
    for (const [a, b] of [
      [left, left],
      [left, v1],
      [v1, left],
    ] as const) {
      assert.throws(() => mergingHead({ ...left.contract, version: 3 }, a.proof, b.proof), { code: 'VERSION_OLD' });
      assert.throws(() => mergedBranch(a.proof, b.proof), { code: 'VERSION_OLD' });
    }
    assert.throws(() => mergingHead(left.contract, left.proof, right.proof), { code: 'VERSION_GAP' });
  });
});

describe('whoever is not the owner of both branches', () => {
  it('cannot end a fork: not the owners of one branch, nor those before', () => {
    const short: readonly (readonly [string, readonly Identity[]])[] = [
      ['QUORUM_MISSING', [ana, ben, stranger]], // ours alone: zoe and cleo are missing after the other branch
      ['QUORUM_MISSING', [ana, cleo, zoe]], // theirs alone
      ['QUORUM_MISSING', [ben, cleo]], // those before: a quorum then, and of neither branch
      ['QUORUM_MISSING', [stranger, zoe, ana]], // both branches, without the owners before
      ['HEAD_FORGED', [identity('mallory'), identity('eve')]],
    ];
    for (const [code, by] of short) {
      const forged = mergedVersion(ours, theirs, by);
      assert.throws(() => verifyProof(forged.proof), { code });
      for (const pinned of [ours, theirs]) {
        assert.throws(() => checkProvenVersion(pinned, forged.proof, forged.contract), { code });
      }
    }
    verifyProof(mergedVersion(ours, theirs, [ben, cleo, stranger, zoe]).proof);
  });

  it('cannot end one with owners that a branch dropped', () => {
    // cleo was dropped by ours: her branch is her own invention, beside the succession that dropped her.
    const invented = nextVersion(v1, { name: 'invented' }, [ben, cleo]);
    const forged = mergedVersion(ours, invented, [ben, cleo]);
    assert.throws(() => verifyProof(forged.proof), { code: 'QUORUM_MISSING' });
    // Nor can the dropped make their branch the one that goes on.
    const usurped = mergedVersion(invented, ours, [ben, cleo]);
    assert.throws(() => checkProvenVersion(ours, usurped.proof, usurped.contract), { code: 'QUORUM_MISSING' });
  });

  it('cannot name a branch that does not exist, or show another', () => {
    const contract = { ...left.contract, version: 3 };
    const shown = mergedBranch(left.proof, right.proof);
    const nowhere = { ...right.head, contract: headHash(v0.head) };
    const unsigned = { ...shown, newest: { head: nowhere, signatures: right.signed.signatures } };
    const invented = versionOf(left.proof, contract, claimsToEnd(contract, left.head, nowhere), unsigned, [ana, ben]);
    assert.throws(() => verifyProof(invented.proof), { code: 'HEAD_FORGED' });
    const hidden = versionOf(left.proof, contract, claimsToEnd(contract, left.head, nowhere), shown, [ana, ben]);
    assert.throws(() => verifyProof(hidden.proof), { code: 'HEAD_FORGED' });
    const other = nextVersion(v1, { name: 'other' });
    assert.throws(() => verifyProof(altered(healed, { newest: other.signed })), { code: 'HEAD_FORGED' });
    assert.throws(() => verifyProof(altered(healed, { previous: other.head })), { code: 'HEAD_FORGED' });
  });

  it('cannot say `merges` without the branch, nor show a branch without `merges`', () => {
    const bare = { ...healed.proof, successions: [] };
    assert.throws(() => verifyProof(bare), { code: 'HEAD_FORGED' });
    const [merge] = healed.proof.successions;
    assert.ok(merge?.merged);
    const { merged, ...naked } = merge;
    const without = { ...healed.proof, successions: [naked] };
    assert.throws(() => parseHeadProof(canonicalize(without)), { code: 'CONTRACT_INVALID' });
    assert.throws(() => verifyProof(without), { code: 'HEAD_FORGED' });
    const [change] = ours.proof.successions;
    assert.ok(change);
    const smuggled = { ...ours.proof, successions: [{ ...change, merged }] };
    assert.throws(() => parseHeadProof(canonicalize(smuggled)), { code: 'CONTRACT_INVALID' });
    assert.throws(() => verifyProof(smuggled), { code: 'HEAD_FORGED' });
    assert.throws(() => extendProof(left.proof, genesis, healed.signed, healed.contract.owners), {
      code: 'CONTRACT_INVALID',
    });
    assert.throws(() => extendProof(v1.proof, genesis, left.signed, left.contract.owners, merged), {
      code: 'CONTRACT_INVALID',
    });
    const begins = { ...v0.signed, head: { ...v0.head, merges: headHash(left.head) } };
    assert.throws(() => parseHeadProof(canonicalize({ ...v0.proof, newest: begins })), { code: 'CONTRACT_INVALID' });
  });

  it('cannot choose the version, end the branch it follows, or share what is not shared', () => {
    const shown = mergedBranch(left.proof, right.proof);
    for (const version of [2, 4, 9]) {
      const contract = { ...left.contract, version };
      const head = claimsToEnd(contract, left.head, right.head);
      const odd = versionOf(left.proof, contract, head, shown, [ana, ben, cleo]);
      assert.throws(() => verifyProof(odd.proof), { code: 'HEAD_FORGED' });
    }
    const contract = { ...left.contract, version: 3 };
    const itself = { ...shown, newest: left.signed };
    const own = versionOf(left.proof, contract, claimsToEnd(contract, left.head, left.head), itself, [ana, ben]);
    assert.throws(() => verifyProof(own.proof), { code: 'HEAD_FORGED' });
    for (const shared of [1, 2, 512]) {
      assert.throws(() => verifyProof(altered(healed, { shared })), { code: 'HEAD_FORGED' });
    }
    // Too little shared: the branch would repeat a succession of the other.
    const base = nextVersion(ours, {}, [ana, stranger]);
    const [one, two] = ['one', 'two'].map((name) => nextVersion(base, { name }, [ana, stranger]));
    assert.ok(one && two);
    const sealed = mergedVersion(one, two, [ana, stranger]);
    verifyProof(sealed.proof);
    const less = altered(sealed, { shared: 0, successions: two.proof.successions });
    assert.throws(() => verifyProof(less), { code: 'HEAD_FORGED' });
    // What lies on the branch itself is no branch: here the last common succession.
    const [change] = ours.proof.successions;
    assert.ok(change);
    const ancestor = {
      ...mergedBranch(one.proof, two.proof),
      newest: { head: change.head, signatures: change.signatures },
    };
    const version = { ...one.contract, version: one.head.version + 1 };
    const head = claimsToEnd(version, one.head, change.head);
    assert.throws(() => verifyProof(versionOf(one.proof, version, head, ancestor, [ana, stranger]).proof), {
      code: 'HEAD_FORGED',
    });
  });

  it('gains nothing by showing the branch that lost once more', () => {
    assert.throws(() => checkProvenVersion(healed, right.proof, right.contract), { code: 'VERSION_OLD' });
    const beside = nextVersion(right, { name: 'beside' });
    assert.throws(() => checkProvenVersion(healed, beside.proof, beside.contract), { code: 'HEAD_FORKED' });
    for (const pinned of [after, later]) {
      assert.throws(() => checkProvenVersion(pinned, beside.proof, beside.contract), { code: 'VERSION_OLD' });
    }
    const beyond = nextVersion(nextVersion(nextVersion(nextVersion(beside))));
    for (const pinned of [healed, after, later]) {
      assert.equal(compareProof(pinned.proof, beyond.proof), 'usurped');
      assert.throws(() => checkProvenVersion(pinned, beyond.proof, beyond.contract), { code: 'HEAD_FORGED' });
    }
    // The branch that went on, without the version that ended the fork: the same.
    const onwards = nextVersion(nextVersion(nextVersion(left)));
    assert.throws(() => checkProvenVersion(after, onwards.proof, onwards.contract), { code: 'HEAD_FORGED' });
  });

  it('is not let in by another head of the branch that ended', () => {
    // Pinned beside the newest head of that branch: this machine joins again.
    const beside = nextVersion(v1, { name: 'third' });
    assert.equal(compareProof(beside.proof, healed.proof), 'fork');
    const behind = nextVersion(nextVersion(v1, { owners: ownedBy(1, { ana }) }, [ana, ben]), {}, [ana]);
    assert.equal(compareProof(behind.proof, crossed.proof), 'usurped');
  });

  it('cannot go through checkNextVersion, which sees one branch only', () => {
    assert.throws(() => checkNextVersion(left, genesis, healed), { code: 'VERSION_GAP' });
    assert.throws(() => checkNextVersion(right, genesis, healed), { code: 'VERSION_GAP' });
  });
});

describe('bounds', () => {
  it('forks inside forks are ended, as deep as a proof can tell', () => {
    let branch = right;
    let depth = 0;
    const deepen = (): void => {
      const beside = nextVersion(v1, { name: `beside ${depth}` });
      branch = mergedVersion(beside, branch, [ana, ben]);
      depth += 1;
    };
    for (let i = 0; i < CONTRACT_LIMITS.mergeDepth; i++) {
      deepen();
      assert.deepEqual(parseHeadProof(canonicalize(branch.proof)), branch.proof);
      verifyProof(branch.proof);
      // However deep the branch ended, its machines follow.
      assert.equal(compareProof(right.proof, branch.proof), i === 0 ? 'next' : 'newer');
    }
    assert.throws(deepen, { code: 'CONTRACT_INVALID' });
    const [merge] = branch.proof.successions;
    assert.ok(merge?.merged);
    const merged: MergedBranch = { ...merge.merged, successions: [merge], newest: branch.signed };
    const deeper = { ...branch.proof, successions: [{ ...merge, merged }] };
    assert.throws(() => parseHeadProof(canonicalize(deeper)), { code: 'CONTRACT_INVALID' });
  });

  it('signatures of ended branches count into the limit', () => {
    const [merge] = healed.proof.successions;
    const [signature] = healed.signed.signatures;
    assert.ok(merge?.merged && signature);
    const signatures = Array.from({ length: CONTRACT_LIMITS.signatures }, () => signature);
    const newest = { ...right.signed, signatures };
    const fat = { ...merge, signatures, merged: { ...merge.merged, newest } };
    const successions = Array.from({ length: 9 }, () => fat);
    assert.throws(() => parseHeadProof({ ...healed.proof, successions }), { code: 'CONTRACT_INVALID' });
  });
});
