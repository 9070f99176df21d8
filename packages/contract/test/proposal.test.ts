/** Versions on their way: who may sign, when it is enough, what it becomes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  CONTRACT_LIMITS,
  canonicalize,
  checkNextVersion,
  checkProposal,
  checkProvenVersion,
  headHash,
  mergeProposals,
  mergingVersion,
  parseProposal,
  proposalId,
  proposalOf,
  proposalStanding,
  replaceOwner,
  sealedContract,
  signHead,
  signProposal,
  verifyProof,
  type Contract,
  type Proposal,
} from '@moat/contract';
import { completeProposal } from './completed.fixture.ts';
import {
  ana,
  ben,
  cleo,
  contract,
  firstVersion,
  genesis,
  identity,
  nextVersion,
  ownedBy,
  signed,
  stranger,
  type Identity,
} from './deployment.fixture.ts';

const v0 = firstVersion();
const next: Contract = { ...v0.contract, version: 1, anchors: [] };
const plain = proposalOf(v0, next);

const dora = stranger;
const rotated = replaceOwner(v0.contract, cleo.key, { name: 'dora', key: dora.key });
const change = proposalOf(v0, rotated);

function signedBy(proposal: Proposal, ...people: readonly Identity[]): Proposal {
  return people.reduce((so, { signer }) => signProposal(so, signer), proposal);
}

describe('a proposal', () => {
  it('becomes a version when two of three have signed, one after the other', () => {
    checkProposal(v0, genesis, plain);
    assert.equal(plain.seal, undefined);
    assert.deepEqual(proposalStanding(plain, v0), {
      met: false,
      weight: 0,
      threshold: 2,
      signers: [],
      missing: [ana, ben, cleo].map(({ key }) => key).sort(),
    });
    const one = parseProposal(canonicalize(signedBy(plain, ana)));
    const half = proposalStanding(one, v0);
    assert.deepEqual([half.met, half.weight, half.signers], [false, 1, [ana.key]]);
    assert.throws(() => completeProposal(v0, genesis, one), { code: 'QUORUM_MISSING' });
    const two = signedBy(one, cleo);
    assert.equal(proposalStanding(two, v0).met, true);
    const [version, ...rest] = completeProposal(v0, genesis, two);
    assert.deepEqual(rest, []);
    checkNextVersion(v0, genesis, { contract: version.contract, signed: version.proof.newest });
    assert.equal(checkProvenVersion(v0, version.proof, version.contract), 'next');
  });

  it('may be the first version', () => {
    const first = signedBy(proposalOf(null, contract), ana, ben);
    checkProposal(null, genesis, first);
    assert.equal(proposalStanding(first, null).met, true);
    const [version] = completeProposal(null, genesis, first);
    assert.equal(checkProvenVersion(null, version.proof, version.contract), 'first');
  });

  it('has one id, whoever signed it', () => {
    assert.equal(proposalId(signedBy(plain, ana)), proposalId(plain));
    assert.equal(proposalId(plain), headHash(plain.head));
    assert.notEqual(proposalId(proposalOf(v0, { ...next, name: 'other' })), proposalId(plain));
  });

  it('weighs signatures as the owners do', () => {
    const owners = { ...ownedBy(3, { ana, ben, cleo }) };
    const weighted = {
      ...owners,
      keys: owners.keys.map((owner) => ({ ...owner, weight: owner.name === 'ana' ? 2 : 1 })),
    };
    const current = { ...v0, contract: { ...v0.contract, owners: weighted } };
    const standing = (...by: readonly Identity[]): boolean =>
      proposalStanding(signedBy(proposalOf(current, { ...next, owners: weighted }), ...by), current).met;
    assert.equal(standing(ana), false);
    assert.equal(standing(ben, cleo), false);
    assert.equal(standing(ana, cleo), true);
  });

  it('ignores strangers, counts nobody twice, and no signature for another head', () => {
    const outsider = signedBy(plain, ana, identity('outsider'));
    assert.deepEqual(proposalStanding(outsider, v0).signers, [ana.key]);
    const twice = { ...plain, signatures: [1, 2, 3].map(() => signHead(plain.head, ana.signer)) };
    assert.equal(proposalStanding(twice, v0).weight, 1);
    const elsewhere = { ...plain, signatures: [...twice.signatures, signHead(v0.head, ben.signer)] };
    assert.equal(proposalStanding(elsewhere, v0).weight, 1);
    const posed = { ...plain, signatures: [{ key: ben.key, signature: signHead(plain.head, ana.signer).signature }] };
    assert.equal(proposalStanding(posed, v0).weight, 0);
    assert.throws(() => completeProposal(v0, genesis, elsewhere), { code: 'QUORUM_MISSING' });
    // What does not count does not travel on either.
    const [version] = completeProposal(v0, genesis, signedBy(outsider, ben));
    assert.equal(version.proof.newest.signatures.length, 2);
    assert.deepEqual(signedBy(plain, ana, ana), signedBy(plain, ana));
  });

  it('is merged with another copy of itself; only what counts is kept', () => {
    const a = signedBy(plain, ana, identity('outsider'));
    const b = {
      ...signedBy(plain, ben),
      signatures: [...signedBy(plain, ben).signatures, signHead(v0.head, cleo.signer)],
    };
    const merged = mergeProposals(a, b, v0);
    assert.deepEqual(merged.signatures.map(({ key }) => key).sort(), [ana.key, ben.key].sort());
    assert.equal(proposalStanding(merged, v0).met, true);
    assert.deepEqual(mergeProposals(merged, merged, v0), merged);
    assert.throws(() => mergeProposals(a, proposalOf(v0, { ...next, name: 'other' }), v0), {
      code: 'CONTRACT_INVALID',
    });
  });

  it('is stale once another version was applied', () => {
    const v1 = nextVersion(v0, { name: 'meanwhile' });
    assert.throws(() => checkProposal(v1, genesis, signedBy(plain, ana, ben)), { code: 'PROPOSAL_STALE' });
    assert.throws(() => completeProposal(v1, genesis, signedBy(plain, ana, ben)), { code: 'PROPOSAL_STALE' });
  });

  it('is refused when its head says something else', () => {
    const bad: readonly (readonly [string, Proposal])[] = [
      ['HEAD_MISMATCH', { ...plain, contract: { ...next, name: 'other' } }],
      ['VERSION_GAP', proposalOf(v0, { ...next, version: 2 })],
      ['CONTRACT_INVALID', proposalOf(v0, { ...next, members: [] })],
      ['HEAD_FORGED', { ...plain, seal: signed({ ...next, version: 2 }, { head: plain.head, signatures: [] }, []) }],
    ];
    for (const [code, proposal] of bad) assert.throws(() => checkProposal(v0, genesis, proposal), { code });
    const end = nextVersion(v0, { state: 'ended' });
    assert.throws(() => checkProposal(end, genesis, proposalOf(end, { ...next, version: 2 })), {
      code: 'DEPLOYMENT_ENDED',
    });
  });

  it('has bounds', () => {
    const many = Array.from({ length: CONTRACT_LIMITS.signatures + 1 }, () => signHead(plain.head, ana.signer));
    assert.throws(() => parseProposal({ ...plain, signatures: many }), { code: 'CONTRACT_INVALID' });
    assert.throws(() => parseProposal('x'.repeat(1_048_577)), { code: 'CONTRACT_INVALID' });
    assert.throws(() => parseProposal({ ...plain, note: 'sign me' }), { code: 'CONTRACT_TOO_NEW' });
    const wide = Array.from({ length: 2000 }, (_, i) => ({
      name: `${'m'.repeat(50)}${i}`,
      ipv4: `10.77.${Math.floor(i / 200)}.${(i % 200) + 20}`,
      tags: Array.from({ length: 9 }, (__, k) => `${'t'.repeat(55)}${k}`),
    }));
    assert.throws(() => proposalOf(v0, { ...next, members: [...contract.members, ...wide] }), {
      code: 'CONTRACT_INVALID',
    });
  });

  it('counts as a plain model does', () => {
    const people = [ana, ben, cleo, identity('outsider')];
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 3 }), { maxLength: 6 }),
        fc.array(fc.nat({ max: 3 }), { maxLength: 6 }),
        (a, b) => {
          const by = (picks: readonly number[]): Proposal => signedBy(plain, ...picks.map((i) => people[i] ?? ana));
          const merged = mergeProposals(by(a), by(b), v0);
          const owners = new Set([...a, ...b].filter((i) => i < 3));
          assert.equal(proposalStanding(merged, v0).weight, owners.size);
          assert.equal(proposalStanding(merged, v0).met, owners.size >= 2);
          assert.deepEqual(parseProposal(canonicalize(merged)), merged);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('a proposal that changes the owners', () => {
  it('carries its seal: the empty version after it, which the new owners sign along', () => {
    assert.ok(change.seal);
    assert.equal(change.seal.head.version, 2);
    assert.equal(change.seal.head.previous, headHash(change.head));
    const byOld = signedBy(change, ana, ben);
    const standing = proposalStanding(byOld, v0);
    assert.deepEqual([standing.met, standing.newOwners?.met], [true, true]);
    const versions = completeProposal(v0, genesis, byOld);
    assert.deepEqual(
      versions.map((version) => version.contract.version),
      [1, 2],
    );
    const [first, seal] = versions;
    assert.ok(seal);
    assert.deepEqual(seal.contract, sealedContract(first.contract));
    checkProvenVersion(v0, seal.proof, seal.contract);
    checkProvenVersion(first, seal.proof, seal.contract);
    // cleo, who was dropped, can no longer stand beside it with one of the others.
    const beside = nextVersion(v0, { name: 'beside' }, [ben, cleo]);
    assert.throws(() => checkProvenVersion(seal, beside.proof, beside.contract), { code: 'VERSION_OLD' });
    const beyond = nextVersion(nextVersion(beside, {}, [ben, cleo]), {}, [ben, cleo]);
    assert.throws(() => checkProvenVersion(seal, beyond.proof, beyond.contract), { code: 'HEAD_FORGED' });
  });

  it('needs both quorums', () => {
    const three = replaceOwner({ ...v0.contract, owners: { ...v0.contract.owners, threshold: 3 } }, cleo.key, {
      name: 'dora',
      key: dora.key,
    });
    const current = { ...v0, contract: { ...v0.contract, owners: { ...v0.contract.owners, threshold: 3 } } };
    const proposal = proposalOf(current, three);
    const old = proposalStanding(signedBy(proposal, ana, ben, cleo), current);
    assert.deepEqual([old.met, old.weight, old.newOwners?.weight], [false, 3, 2]);
    const fresh = proposalStanding(signedBy(proposal, ana, ben, dora), current);
    assert.deepEqual([fresh.met, fresh.weight, fresh.newOwners?.met], [false, 2, true]);
    assert.equal(proposalStanding(signedBy(proposal, ana, ben, cleo, dora), current).met, true);
  });

  it('is not complete while the seal is not', () => {
    const signedWhole = signedBy(change, ana, ben);
    assert.ok(signedWhole.seal);
    const unsealed: Proposal = { ...signedWhole, seal: { ...signedWhole.seal, signatures: [] } };
    const standing = proposalStanding(unsealed, v0);
    assert.deepEqual([standing.met, standing.weight, standing.newOwners?.weight], [false, 2, 0]);
    assert.throws(() => completeProposal(v0, genesis, unsealed), { code: 'QUORUM_MISSING' });
    const { seal, ...bare } = signedWhole;
    assert.throws(() => checkProposal(v0, genesis, bare), { code: 'HEAD_FORGED' });
    const other = {
      ...bare,
      seal: signed({ ...rotated, version: 2, name: 'loot' }, { head: change.head, signatures: [] }),
    };
    assert.throws(() => checkProposal(v0, genesis, other), { code: 'HEAD_FORGED' });
    assert.throws(() => mergeProposals(signedWhole, other, v0), { code: 'CONTRACT_INVALID' });
    assert.deepEqual(mergeProposals(signedBy(change, ana), signedBy(change, ben), v0).seal?.signatures.length, 2);
    assert.equal(seal.signatures.length, 2);
  });

  it('needs no seal where it ends the deployment too: nothing follows', () => {
    const ended = proposalOf(v0, { ...rotated, state: 'ended' });
    assert.equal(ended.seal, undefined);
    checkProposal(v0, genesis, ended);
  });
});

describe('a proposal that ends a fork', () => {
  const left = nextVersion(v0, { name: 'left' }, [ana, ben]);
  const right = nextVersion(v0, { owners: ownedBy(2, { ana, ben, dora }) }, [ana, ben]);
  const healing = proposalOf(
    { ...left, head: left.head },
    { ...left.contract, version: mergingVersion(left.proof, right.proof) },
    { ends: right.proof },
  );

  it('travels whole and shows who is missing on which branch', () => {
    const one = parseProposal(canonicalize(signedBy(healing, cleo, ben)));
    checkProposal(left, genesis, one);
    const standing = proposalStanding(one, left);
    assert.deepEqual(
      [standing.met, standing.commonOwners?.met, standing.otherOwners?.met, standing.newOwners?.met],
      [false, true, false, true],
    );
    assert.throws(() => completeProposal(left, genesis, one), { code: 'QUORUM_MISSING' });
    const whole = mergeProposals(one, signedBy(healing, dora), left);
    assert.equal(proposalStanding(whole, left).met, true);
    const [merge, seal] = completeProposal(left, genesis, whole);
    assert.ok(seal);
    verifyProof(merge.proof);
    for (const branch of [left, right]) {
      assert.equal(checkProvenVersion(branch, merge.proof, merge.contract), 'next');
      assert.equal(checkProvenVersion(branch, seal.proof, seal.contract), 'newer');
    }
  });

  it('is judged only with the proof of the branch it follows', () => {
    const blind = { contract: left.contract, head: left.head };
    assert.throws(() => proposalStanding(healing, blind), { code: 'HEAD_FORKED' });
    assert.throws(() => checkProposal(blind, genesis, healing), { code: 'HEAD_FORKED' });
    assert.throws(() => checkProposal(right, genesis, healing), { code: 'PROPOSAL_STALE' });
  });

  it('shows a branch that holds, or is refused before anybody signs', () => {
    assert.ok(healing.merged);
    const forged = nextVersion(v0, { name: 'forged' }, [identity('mallory'), identity('eve')]);
    const merged = { ...healing.merged, successions: [], newest: forged.signed };
    const proposal = { ...healing, merged, head: { ...healing.head, merges: headHash(forged.head) } };
    assert.throws(() => checkProposal(left, genesis, proposal), { code: 'HEAD_FORGED' });
    const { merged: _, ...bare } = healing;
    assert.throws(() => parseProposal(canonicalize(bare)), { code: 'CONTRACT_INVALID' });
    assert.throws(() => parseProposal(canonicalize({ ...plain, merged: healing.merged })), {
      code: 'CONTRACT_INVALID',
    });
  });

  it('shows no more of a branch than a proof may hold: a keeper verifies each signature', () => {
    const [succession] = healing.merged?.successions ?? [];
    const [signature] = succession?.signatures ?? [];
    assert.ok(healing.merged && succession && signature);
    const full = { ...succession, signatures: Array.from({ length: CONTRACT_LIMITS.signatures }, () => signature) };
    const withSuccessions = (count: number): Proposal => {
      const successions = Array.from({ length: count }, () => full);
      return { ...healing, merged: { ...healing.merged, successions } as Proposal['merged'] & object };
    };
    const most = CONTRACT_LIMITS.proofSignatures / CONTRACT_LIMITS.signatures;
    parseProposal(canonicalize(withSuccessions(most - 1)));
    assert.throws(() => parseProposal(canonicalize(withSuccessions(most + 1))), { code: 'CONTRACT_INVALID' });
  });
});
