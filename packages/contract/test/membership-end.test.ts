/** A membership's end reaches the gateway, which sees no contract: it stands in the publication. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toBase64url } from '@moat/core';
import {
  boxSecret,
  bundleFor,
  canonicalize,
  mayServe,
  parseContract,
  parsePublicationBundle,
  publicationHash,
  publicationsOf,
  verifyBundle,
  type BundleRules,
  type Contract,
} from '@moat/contract';
import {
  NOW,
  contract,
  deployment,
  firstVersion,
  gateway,
  laptop,
  laptopClaim,
  nextVersion,
  web1,
} from './deployment.fixture.ts';

const END = Date.parse('2026-12-20T00:00:00Z');
const v0 = firstVersion();
const claim = laptopClaim();
const bundle = bundleFor(v0.proof, v0.contract, [claim], gateway.peer);
const rules: BundleRules = { gateway: gateway.peer, presenter: laptop.peer, pinned: null, now: NOW };

test('a claimed member serves until its membership ends, and not a moment longer', () => {
  assert.equal(verifyBundle(bundle, { ...rules, now: END - 1 }).serves.length, 1);
  assert.throws(() => verifyBundle(bundle, { ...rules, now: END }), { code: 'MEMBER_EXPIRED' });
  assert.throws(() => verifyBundle(bundle, { ...rules, now: END, pinned: v0.proof }), { code: 'MEMBER_EXPIRED' });
  const [shop] = bundle.publications;
  assert.ok(shop);
  assert.equal(mayServe(shop, laptop.peer, bundle.claims, END - 1), true);
  assert.equal(mayServe(shop, laptop.peer, bundle.claims, END), false);
});

test('so does a pinned one; others serve on', () => {
  const members = contract.members.map((member) =>
    member.name === 'laptop'
      ? { name: 'laptop', node: laptop.peer, ipv4: member.ipv4, tags: ['web'], expires: '2026-12-20T00:00:00Z' }
      : member,
  );
  const pinned = firstVersion({ members });
  const shown = bundleFor(pinned.proof, pinned.contract, [], gateway.peer);
  assert.equal(verifyBundle(shown, rules).serves.length, 1);
  assert.throws(() => verifyBundle(shown, { ...rules, now: END }), { code: 'MEMBER_EXPIRED' });
  assert.equal(verifyBundle(shown, { ...rules, presenter: web1.peer, now: END }).serves.length, 1);
});

test('a former member may still bring news, which proves itself, and serves nothing', () => {
  const v1 = nextVersion(v0);
  const news = bundleFor(v1.proof, v1.contract, [claim], gateway.peer);
  assert.deepEqual(verifyBundle(news, { ...rules, now: END, pinned: v0.proof }).serves, []);
});

test('the end is signed: it cannot be moved or taken away', () => {
  for (const change of [{ ends: '2027-12-20T00:00:00Z' }, { ends: undefined }]) {
    const publications = bundle.publications.map((publication) => ({
      ...publication,
      members: publication.members.map((member) => {
        const { ends: _, ...rest } = member;
        return 'invite' in member ? { ...rest, ...(change.ends === undefined ? {} : change) } : member;
      }),
    }));
    const altered = parsePublicationBundle(canonicalize({ ...bundle, publications }));
    assert.throws(() => verifyBundle(altered, { ...rules, now: END }), { code: 'PUBLICATION_FORGED' });
  }
});

test('a publication carries the boxed secret of its line, whose hash the head signs', () => {
  const box = `x25519:${toBase64url(new Uint8Array(32).fill(9))}`;
  const [line] = contract.publish;
  assert.ok(line);
  const basic = boxSecret(Buffer.from('ana:x'), { box, deployment, name: line.name, salt: line.salt });
  const withAuth: Contract = {
    ...contract,
    publish: [{ ...line, gateway: { ...line.gateway, box }, auth: { basic } }],
  };
  assert.deepEqual(parseContract(canonicalize(withAuth)), withAuth);
  const [publication] = publicationsOf(withAuth);
  const [plain] = publicationsOf(contract);
  assert.ok(publication && plain);
  assert.deepEqual(publication.auth, { basic });
  assert.notEqual(publicationHash(publication), publicationHash(plain));
  const of = firstVersion({ publish: withAuth.publish });
  const shown = bundleFor(of.proof, of.contract, [claim], gateway.peer);
  assert.deepEqual(parsePublicationBundle(canonicalize(shown)), shown);
  // Without the rule nobody may serve it: leaving it out would open what the owners closed.
  const stripped = { ...shown, publications: [plain] };
  assert.throws(() => verifyBundle(stripped, rules), { code: 'PUBLICATION_FORGED' });
});
