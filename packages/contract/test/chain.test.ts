import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CONTRACT_LIMITS,
  canonicalize,
  checkNextVersion,
  checkProvenVersion,
  compareHeads,
  compareProof,
  createGenesis,
  deploymentIdOf,
  extendProof,
  headHash,
  ownerSetOf,
  parseHeadProof,
  signHead,
  verifyProof,
  type HeadProof,
  type SignedHead,
} from '@moat/contract';
import { mergedVersion } from './branches.fixture.ts';
import {
  ana,
  ben,
  cleo,
  contract,
  deployment,
  firstVersion,
  genesis,
  identity,
  nextVersion,
  ownedBy,
  owners,
  signed,
  stranger,
  without,
} from './deployment.fixture.ts';

const v0 = firstVersion();
const v1 = nextVersion(v0, { anchors: [] });
const v2 = nextVersion(v1);
/** ana and ben drop cleo and bring in the stranger's key, who signs too. */
const newOwners = ownedBy(2, { ana, dora: stranger });
const v3 = nextVersion(v2, { owners: newOwners }, [ana, ben, stranger]);
const v4 = nextVersion(v3, {}, [ana, stranger]);
const v5 = nextVersion(v4, {}, [ana, stranger]);

test('versions follow one another from genesis', () => {
  checkNextVersion(null, genesis, v0);
  const versions = [v0, v1, v2, v3, v4, v5];
  for (const [i, version] of versions.entries()) {
    const before = versions[i - 1];
    if (before !== undefined) checkNextVersion(before, genesis, version);
    const { owners: inForce, deployment: id } = verifyProof(version.proof);
    assert.equal(id, deployment);
    assert.deepEqual(inForce, ownerSetOf(version.contract.owners));
    assert.equal(checkProvenVersion(null, version.proof, version.contract), 'first');
  }
  assert.deepEqual(
    v5.proof.successions.map(({ head }) => head.version),
    [3],
  );
});

test('the first version is genesis owners, version 0', () => {
  assert.throws(() => checkNextVersion(null, genesis, v1), { code: 'VERSION_GAP' });
  const usurped = { ...contract, owners: ownedBy(1, { mallory: stranger }) };
  assert.throws(
    () => checkNextVersion(null, genesis, { contract: usurped, signed: signed(usurped, null, [stranger]) }),
    {
      code: 'GENESIS_MISMATCH',
    },
  );
  const other = createGenesis(ownerSetOf(owners), new Uint8Array(16));
  assert.throws(() => checkNextVersion(null, other, v0), { code: 'GENESIS_MISMATCH' });
});

test('a version needs a quorum of the owners before it', () => {
  const alone = { ...v1, signed: signed(v1.contract, v0.signed, [ana]) };
  assert.throws(() => checkNextVersion(v0, genesis, alone), { code: 'QUORUM_MISSING' });
  const forged = { ...v1, signed: signed(v1.contract, v0.signed, [stranger, ana]) };
  assert.throws(() => checkNextVersion(v0, genesis, forged), { code: 'HEAD_FORGED' });
  assert.throws(() => checkNextVersion(v3, genesis, { ...v4, signed: signed(v4.contract, v3.signed, [ana, ben]) }), {
    code: 'HEAD_FORGED',
  });
});

test('a succession needs both quorums, so a typo locks nobody out', () => {
  const oneSided = { ...v3, signed: signed(v3.contract, v2.signed, [ana, ben]) };
  assert.throws(() => checkNextVersion(v2, genesis, oneSided), { code: 'QUORUM_MISSING' });
  const coup = { ...v3, signed: signed(v3.contract, v2.signed, [ana, stranger]) };
  assert.throws(() => checkNextVersion(v2, genesis, coup), { code: 'QUORUM_MISSING' });
  const proof = extendProof(v2.proof, genesis, oneSided.signed, newOwners);
  assert.throws(() => verifyProof(proof), { code: 'QUORUM_MISSING' });
});

test('rotating a key is a succession signed by the old and the new key', () => {
  const before = firstVersion();
  const rotated = nextVersion(before, { owners: ownedBy(2, { ana, ben, cleo: stranger }) }, [ana, ben]);
  checkNextVersion(before, genesis, rotated);
  assert.equal(verifyProof(rotated.proof).owners.keys.length, 3);
});

test('gaps, repeats and branches have their codes', () => {
  assert.throws(() => checkNextVersion(v0, genesis, v2), { code: 'VERSION_GAP' });
  assert.throws(() => checkNextVersion(v1, genesis, v1), { code: 'VERSION_OLD' });
  assert.throws(() => checkNextVersion(v2, genesis, v1), { code: 'VERSION_OLD' });
  const branch = nextVersion(v0, { name: 'fork' });
  assert.throws(() => checkNextVersion(v1, genesis, branch), { code: 'HEAD_FORKED' });
  assert.throws(() => checkNextVersion(v1, genesis, nextVersion(branch)), { code: 'HEAD_FORKED' });
});

test('nothing follows the end', () => {
  const end = nextVersion(v0, { state: 'ended' });
  checkNextVersion(v0, genesis, end);
  assert.deepEqual(end.head.publications, []);
  const undead = nextVersion(end, { state: 'active' });
  assert.throws(() => checkNextVersion(end, genesis, undead), { code: 'DEPLOYMENT_ENDED' });
  assert.throws(() => checkProvenVersion(end, undead.proof, undead.contract), { code: 'DEPLOYMENT_ENDED' });
  assert.equal(checkProvenVersion(end, end.proof, end.contract), 'same');
});

test('a version whose contract differs from its head, or is invalid, is refused', () => {
  assert.throws(() => checkNextVersion(v0, genesis, { ...v1, contract: { ...v1.contract, name: 'x' } }), {
    code: 'HEAD_MISMATCH',
  });
  const broken = nextVersion(v0, { members: without(v0.contract.members, 'keeper') });
  assert.throws(() => checkNextVersion(v0, genesis, broken), { code: 'CONTRACT_INVALID' });
  assert.throws(() => checkProvenVersion(v0, broken.proof, broken.contract), { code: 'CONTRACT_INVALID' });
});

test('heads are ordered, and what lies beside the pinned one is a fork', () => {
  const sibling = nextVersion(v1, { name: 'sibling' });
  assert.equal(compareHeads(null, v2.signed), 'first');
  assert.equal(compareHeads(v2.signed, { head: { ...v2.head } }), 'same');
  assert.equal(compareHeads(v2.signed, v1.signed), 'older');
  assert.equal(compareHeads(v1.signed, v2.signed), 'next');
  assert.equal(compareHeads(v0.signed, v2.signed), 'newer');
  assert.equal(compareHeads(v2.signed, sibling.signed), 'fork');
  assert.equal(compareHeads(v2.signed, nextVersion(sibling).signed), 'fork');
});

test('a node that missed versions takes a proven one, and never a lower one', () => {
  assert.equal(checkProvenVersion(v0, v5.proof, v5.contract), 'newer');
  assert.equal(checkProvenVersion(v4, v5.proof, v5.contract), 'next');
  assert.throws(() => checkProvenVersion(v5, v4.proof, v4.contract), { code: 'VERSION_OLD' });
  assert.throws(() => checkProvenVersion(v0, v5.proof, v4.contract), { code: 'HEAD_MISMATCH' });
});

test('dropped owners cannot sign past the succession that dropped them', () => {
  // ben and cleo, in force before version 3, sign a version 9 as if the succession had never been.
  const ninth = { ...v2.contract, version: 9 };
  const head = signed(ninth, v2.signed, [ben, cleo]);
  const proof: HeadProof = { genesis, successions: [], newest: head };
  // To a machine that knows nothing newer it is valid: architecture.md §2, former quorum.
  assert.equal(verifyProof(proof).deployment, deployment);
  assert.equal(compareProof(v2.proof, proof), 'newer');
  for (const pinned of [v3, v4, v5]) {
    assert.equal(compareHeads(pinned.signed, head), 'newer');
    assert.equal(compareProof(pinned.proof, proof), 'usurped');
    assert.throws(() => checkProvenVersion(pinned, proof, ninth), { code: 'HEAD_FORGED' });
  }
});

test('dropped owners cannot fork a version after the succession that dropped them', () => {
  // A fork stops every node: ben and cleo must not be able to make one of versions they have no say in.
  for (const [pinned, before] of [
    [v4, v3],
    [v5, v4],
  ] as const) {
    const beside = { ...pinned.contract, owners, name: 'beside' };
    const proof: HeadProof = { genesis, successions: [], newest: signed(beside, before.signed, [ben, cleo]) };
    assert.equal(verifyProof(proof).deployment, deployment);
    assert.equal(compareHeads(pinned.signed, proof.newest), 'fork');
    assert.equal(compareProof(pinned.proof, proof), 'usurped');
    assert.throws(() => checkProvenVersion(pinned, proof, beside), { code: 'HEAD_FORGED' });
  }
  // The version after the pinned one, and one that brings in owners of their own, beside the pinned succession.
  const next = signed({ ...v4.contract, version: 5, owners }, v2.signed, [ben, cleo]);
  assert.equal(compareProof(v4.proof, { genesis, successions: [], newest: next }), 'usurped');
  const coup = nextVersion(v2, { owners: ownedBy(1, { ben }), name: 'coup' }, [ben, cleo]);
  assert.equal(compareProof(v4.proof, nextVersion(coup, {}, [ben]).proof), 'usurped');
  // Nor may they leave the succession out and change the owners later, which is a longer way to the same theft.
  const detour = nextVersion(nextVersion(nextVersion(v2, { name: 'detour' }), {}), { owners: ownedBy(1, { ben }) }, [
    ana,
    ben,
  ]);
  const robbed = nextVersion(detour, {}, [ben]);
  for (const pinned of [v3, v4]) assert.equal(compareProof(pinned.proof, robbed.proof), 'usurped');
  // Of the succession itself they were the owners: that is a fork until an empty version seals it.
  assert.equal(compareProof(v3.proof, coup.proof), 'fork');
  assert.equal(compareProof(v3.proof, nextVersion(coup, {}, [ben]).proof), 'fork');
});

test('a proof whose succession lies beside the pinned version is a fork', () => {
  const branch = nextVersion(v2, { owners: newOwners, name: 'branch' }, [ana, ben, stranger]);
  const later = nextVersion(nextVersion(nextVersion(branch, {}, [ana, stranger]), {}, [ana, stranger]), {}, [
    ana,
    stranger,
  ]);
  assert.equal(compareProof(v3.proof, later.proof), 'fork');
  assert.equal(compareProof(v2.proof, later.proof), 'newer');
  assert.equal(compareProof(v4.proof, nextVersion(v3, { name: 'fork' }, [ana, stranger]).proof), 'fork');
});

test('a proof never grows beyond what others read', () => {
  const people = Array.from({ length: 32 }, (_, i) => identity(`owner ${i}`));
  const all = Object.fromEntries(people.map((person, i) => [`o${i}`, person]));
  const sets = [32, 31].map((threshold) => ownedBy(threshold, all));
  const [first, second] = sets;
  assert.ok(first && second);
  const start = createGenesis(ownerSetOf(first), new Uint8Array(16));
  const signAll = (of: typeof contract, before: SignedHead | null): SignedHead => signed(of, before, people);
  let of = { ...contract, deployment: deploymentIdOf(start), owners: first };
  let proof = extendProof(null, start, signAll(of, null), first);
  const grow = (): void => {
    for (let version = 1; version <= 64; version++) {
      of = { ...of, version, owners: version % 2 === 0 ? first : second };
      proof = extendProof(proof, start, signAll(of, proof.newest), of.owners);
    }
  };
  assert.throws(grow, { code: 'CONTRACT_INVALID' });
  const count = proof.successions.reduce((sum, { signatures }) => sum + signatures.length, 0);
  assert.equal(count, CONTRACT_LIMITS.proofSignatures);
  // What there is stays good: it is parsed, verified and carried on by versions that keep the owners.
  assert.deepEqual(parseHeadProof(canonicalize(proof)), proof);
  verifyProof(proof);
  const [succession] = proof.successions;
  assert.ok(succession);
  const more = { ...proof, successions: [...proof.successions, succession] };
  assert.throws(() => parseHeadProof(more), { code: 'CONTRACT_INVALID' });
});

test('a proof that somebody filled with signatures that count nothing can still be extended', () => {
  const strangers = Array.from({ length: CONTRACT_LIMITS.signatures }, (_, i) => identity(`stranger ${i}`));
  const sets = [ownedBy(1, { ana }), ownedBy(1, { ben })] as const;
  let version = nextVersion(v0, { owners: sets[1] }, [ana, ben]);
  for (let i = 0; version.proof.successions.length < 16; i++) {
    version = nextVersion(version, { owners: sets[i % 2 === 0 ? 0 : 1] }, [ana, ben]);
  }
  const [left, right] = ['left', 'right'].map((name) => nextVersion(version, { name }, [ana, ben]));
  assert.ok(left && right);
  version = mergedVersion(left, right, [ana, ben]);
  let room = CONTRACT_LIMITS.proofSignatures - version.proof.successions.length * 2 - 2;
  const pad = ({ head, signatures }: SignedHead): SignedHead['signatures'] => {
    const added = strangers.slice(0, Math.min(room, CONTRACT_LIMITS.signatures - signatures.length));
    room -= added.length;
    return [...added.map(({ signer }) => signHead(head, signer)), ...signatures];
  };
  const padded: HeadProof = {
    ...version.proof,
    successions: version.proof.successions.map((one) => ({
      ...one,
      signatures: pad(one),
      ...(one.merged === undefined
        ? {}
        : { merged: { ...one.merged, newest: { ...one.merged.newest, signatures: pad(one.merged.newest) } } }),
    })),
  };
  assert.deepEqual(parseHeadProof(canonicalize(padded)), padded);
  verifyProof(padded);
  const next = nextVersion({ ...version, proof: padded }, { owners: ownedBy(1, { cleo }) }, [ana, ben, cleo]);
  assert.equal(next.proof.successions.length, 18);
  for (const { signatures } of next.proof.successions) assert.ok(signatures.length <= 3);
  verifyProof(parseHeadProof(canonicalize(next.proof)));
  assert.equal(compareProof(version.proof, next.proof), 'next');
});

test('a forged proof ends in a code', () => {
  const [succession] = v5.proof.successions;
  assert.ok(succession);
  const other = createGenesis(ownerSetOf(owners), new Uint8Array(16));
  const bad: readonly (readonly [string, HeadProof])[] = [
    ['GENESIS_MISMATCH', { ...v5.proof, genesis: other }],
    ['HEAD_FORGED', { ...v5.proof, successions: [] }],
    ['HEAD_FORGED', { ...v5.proof, successions: [succession, succession] }],
    ['HEAD_FORGED', { ...v5.proof, successions: [{ ...succession, owners: ownerSetOf(owners) }] }],
    ['HEAD_FORGED', { ...v5.proof, newest: v2.signed }],
    ['HEAD_FORGED', { ...v5.proof, newest: { ...v5.signed, head: { ...v5.head, version: 6 } } }],
    ['HEAD_FORGED', { ...v1.proof, newest: { ...v1.signed, head: { ...v1.head, previous: null } } }],
    ['HEAD_FORGED', { ...v3.proof, newest: { ...v3.signed, signatures: [signHead(v2.head, ana.signer)] } }],
    ['QUORUM_MISSING', { ...v5.proof, newest: { ...v5.signed, signatures: v5.signed.signatures.slice(0, 1) } }],
    ['HEAD_FORGED', { ...v2.proof, successions: [{ ...v1.signed, owners: ownerSetOf(owners) }] }],
  ];
  for (const [code, proof] of bad) assert.throws(() => verifyProof(proof), { code });
  assert.notEqual(headHash(v1.head), headHash(v2.head));
});
