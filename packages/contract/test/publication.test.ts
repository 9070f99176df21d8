import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError, toBase64url } from '@moat/core';
import {
  buildView,
  bundleFor,
  canonicalize,
  checkContract,
  mayPublish,
  mayServe,
  parsePublicationBundle,
  publicationHash,
  publicationsOf,
  servicesServedBy,
  stillPublished,
  verifyBundle,
  type BundleRules,
  type Contract,
  type MemberClaim,
  type PublicationBundle,
  type PublishRules,
} from '@moat/contract';
import {
  NOW,
  contract,
  db1,
  deployment,
  firstVersion,
  gateway,
  identity,
  laptop,
  laptopClaim,
  laptopInvite,
  nextVersion,
  signed,
  stranger,
  web1,
} from './deployment.fixture.ts';

const v0 = firstVersion();
const v1 = nextVersion(v0, { publish: [] });
const claim = laptopClaim();
const bundle = bundleFor(v0.proof, v0.contract, [claim], gateway.peer);
const rules: BundleRules = { gateway: gateway.peer, presenter: web1.peer, pinned: null, now: NOW };

const [first] = publicationsOf(contract);
const [line] = contract.publish;
assert.ok(first && line);
const shop = first;

test('a grpc service is shown to its gateway as one of requests', () => {
  const [web] = contract.services;
  assert.ok(web);
  const { health, ...plain } = web;
  assert.ok(health);
  const services = [{ ...plain, protocol: 'grpc' as const }];
  const access = contract.access.filter(({ to }) => to.every((name) => name === web.name));
  const grpc = { ...contract, services, access };
  checkContract(grpc);
  assert.equal(publicationsOf(grpc)[0]?.kind, 'http');
  assert.throws(() => checkContract({ ...grpc, services: [{ ...web, protocol: 'grpc' }] }), /health/);
});

test('rules travel with their publication, and so do the services they lead to', () => {
  const rules = {
    paths: [{ prefix: '/api', service: 'api' }],
    split: [{ service: 'next', percent: 10 }],
  };
  const [web] = contract.services;
  assert.ok(web);
  const services = [web, { ...web, name: 'api', on: ['db-1'] }, { ...web, name: 'next' }];
  const [publication] = publicationsOf({ ...contract, services, publish: [{ ...line, rules }] });
  assert.ok(publication);
  assert.deepEqual(publication.rules, rules);
  assert.deepEqual(publication.others, [
    { service: 'api', kind: 'http', members: [{ node: db1.peer }] },
    { service: 'next', kind: 'http', members: shop.members },
  ]);
  const proof = firstVersion({ services, publish: [{ ...line, rules }] });
  const shown = bundleFor(proof.proof, proof.contract, [], gateway.peer);
  assert.deepEqual(parsePublicationBundle(JSON.parse(JSON.stringify(shown))), shown);
});

test('a member that serves only what a rule leads to is let in for that, and a gateway at that member', () => {
  const rules = { paths: [{ prefix: '/api', service: 'api' }] };
  const [web] = contract.services;
  assert.ok(web);
  const services = [web, { ...web, name: 'api', on: ['db-1'] }];
  const of = firstVersion({ services, publish: [{ ...line, rules }] });
  const [publication] = publicationsOf(of.contract);
  assert.ok(publication);
  assert.deepEqual(servicesServedBy(publication, db1.peer, [], NOW), ['api']);
  assert.deepEqual(servicesServedBy(publication, web1.peer, [], NOW), ['web']);
  assert.deepEqual(servicesServedBy(publication, stranger.peer, [], NOW), []);
  assert.ok(mayServe(publication, db1.peer, [], NOW));
  const view = buildView(of.contract, [], NOW);
  assert.ok(mayPublish(view, gateway.peer, 'api').allowed);
  assert.ok(!mayPublish(view, gateway.peer, 'db').allowed);
});

test('rules that do not fit their line make no contract', () => {
  const broken = (rules: PublishRules, more: Partial<Contract['publish'][number]> = {}): void => {
    const of = { ...contract, publish: [{ ...line, ...more, rules }] };
    assert.throws(
      () => checkContract(of),
      (error) => isMoatError(error, 'CONTRACT_INVALID'),
    );
  };
  broken({ paths: [{ prefix: '/', service: 'nobody' }] });
  broken({ split: [{ service: 'db', percent: 1 }] });
  broken({ rate: { each: { count: 1, perMs: 1_000 } } }, { service: 'db' });
  broken({ compress: true }, { tls: 'passthrough' });
  const bytes = { ...contract, publish: [{ ...line, service: 'db', rules: { concurrency: 1 } }] };
  assert.doesNotThrow(() => checkContract(bytes));
});

test('a publication resolves tags, sorts, and names nobody but servers and witnesses', () => {
  assert.deepEqual(shop, {
    type: 'moat/publication/1',
    deployment,
    salt: contract.publish[0]?.salt,
    gateways: [gateway.peer],
    name: 'shop',
    service: 'web',
    kind: 'http',
    tls: 'terminate',
    members: [
      { invite: laptopInvite.key, expires: '2026-11-20T11:00:00Z', ends: '2026-12-20T00:00:00Z' },
      { node: web1.peer },
    ].sort((a, b) => (canonicalize(a) < canonicalize(b) ? -1 : 1)),
    witnesses: [web1.peer],
  });
});

test("a publication's bytes do not depend on the order of the contract's lists", () => {
  const shuffled = { ...contract, members: contract.members.toReversed(), services: contract.services.toReversed() };
  assert.deepEqual(publicationsOf(shuffled).map(publicationHash), [publicationHash(shop)]);
});

test('a gateway believes a bundle that a listed machine shows', () => {
  const parsed = parsePublicationBundle(canonicalize(bundle));
  const result = verifyBundle(parsed, rules);
  assert.equal(result.deployment, deployment);
  assert.deepEqual(result.head, v0.signed);
  assert.deepEqual(result.serves, [shop]);
  assert.deepEqual(verifyBundle(bundle, { ...rules, presenter: laptop.peer }).claims.length, 1);
});

test("a bundle holds the gateway's own publications and no details of claims", () => {
  assert.deepEqual(bundleFor(v0.proof, v0.contract, [claim], stranger.peer).publications, []);
  assert.equal(canonicalize(bundle).includes(claim.details.nonce), false);
  assert.deepEqual(Object.keys(bundle.claims[0] ?? {}).includes('details'), false);
});

test('a node without a listed place is refused', () => {
  for (const presenter of [db1.peer, stranger.peer, gateway.peer]) {
    assert.throws(() => verifyBundle(bundle, { ...rules, presenter }), { code: 'PUBLISHER_UNKNOWN' });
    assert.throws(() => verifyBundle(bundle, { ...rules, presenter, pinned: v0.proof }), {
      code: 'PUBLISHER_UNKNOWN',
    });
  }
  assert.throws(() => verifyBundle({ ...bundle, claims: [] }, { ...rules, presenter: laptop.peer }), {
    code: 'PUBLISHER_UNKNOWN',
  });
});

test('a forged member claim is refused', () => {
  const presenter = stranger.peer;
  const attempt = (of: PublicationBundle['claims'][number]): void => {
    verifyBundle({ ...bundle, claims: [of] }, { ...rules, presenter });
  };
  const own = laptopClaim(stranger);
  const thief = identity('thief');
  attempt(own);
  assert.throws(() => attempt({ ...claim, claim: { ...claim.claim, node: stranger.peer } }), {
    code: 'WITNESS_INVALID',
  });
  assert.throws(() => attempt({ ...own, inviteSignature: own.nodeSignature }), { code: 'CLAIM_FORGED' });
  assert.throws(() => attempt(laptopClaim(stranger, { keeper: thief })), { code: 'WITNESS_INVALID' });
  assert.throws(() => attempt(laptopClaim(stranger, { timeMs: NOW + 3_600_000 })), { code: 'WITNESS_INVALID' });
  assert.throws(() => attempt(laptopClaim(stranger, { invite: thief })), { code: 'PUBLISHER_UNKNOWN' });
});

test('a place claimed twice is nobody’s, within a bundle and across bundles', () => {
  const other = laptopClaim(stranger);
  const presenter = laptop.peer;
  assert.throws(() => verifyBundle({ ...bundle, claims: [claim, other] }, { ...rules, presenter }), {
    code: 'PUBLISHER_UNKNOWN',
  });
  assert.throws(() => verifyBundle(bundle, { ...rules, presenter, known: [other] }), { code: 'PUBLISHER_UNKNOWN' });
  assert.equal(verifyBundle(bundle, { ...rules, presenter, known: [claim] }).serves.length, 1);
  assert.equal(mayServe(shop, laptop.peer, [claim, other]), false);
});

test('claims that repeat or add nothing are verified and kept once', () => {
  const presenter = laptop.peer;
  const repeated = { ...bundle, claims: Array<(typeof bundle.claims)[number]>(200).fill(claim) };
  assert.equal(verifyBundle(repeated, { ...rules, presenter }).claims.length, 1);
  // Two claims that differ freeze a place; no third is worth a signature check.
  const nonces = [4, 5, 6].map((fill) => toBase64url(new Uint8Array(16).fill(fill)));
  const own = nonces.map((nonce) => laptopClaim(web1, { details: { nonce } }));
  assert.equal(verifyBundle({ ...bundle, claims: own }, rules).claims.length, 2);
});

test('a bundle full of one place in many publications is judged in linear time', { timeout: 20_000 }, () => {
  const publish = Array.from({ length: 256 }, (_, i) => {
    return { ...line, name: `shop-${i}`, salt: toBase64url(new Uint8Array(16).fill(i)) };
  });
  const many = firstVersion({ publish });
  const other = laptopClaim(laptop, { details: { nonce: toBase64url(new Uint8Array(16).fill(9)) } });
  const claims = [...Array<MemberClaim>(255).fill(claim), other];
  const full = bundleFor(many.proof, many.contract, claims, gateway.peer);
  assert.throws(() => parsePublicationBundle(canonicalize(full)), { code: 'CONTRACT_INVALID' });
  assert.equal(full.publications.length, 256);
  assert.throws(() => verifyBundle(full, { ...rules, presenter: laptop.peer }), { code: 'PUBLISHER_UNKNOWN' });
  assert.equal(full.publications.filter((publication) => mayServe(publication, laptop.peer, claims)).length, 0);
});

test('what the head does not sign is forged, what it no longer signs is withdrawn', () => {
  for (const change of [{ name: 'bank' }, { service: 'db' }, { members: [{ node: stranger.peer }] }, { salt: 'x' }]) {
    const forged = { ...bundle, publications: [{ ...shop, ...change }] };
    assert.throws(() => verifyBundle(forged, rules), { code: 'PUBLICATION_FORGED' });
  }
  assert.throws(() => verifyBundle({ ...bundle, publications: [shop, shop] }, rules), { code: 'PUBLICATION_FORGED' });
  const kept = { ...bundle, proof: v1.proof };
  assert.throws(() => verifyBundle(kept, { ...rules, pinned: v0.proof }), { code: 'PUBLICATION_WITHDRAWN' });
  assert.throws(() => verifyBundle(kept, { ...rules, pinned: v1.proof }), { code: 'PUBLICATION_FORGED' });
});

test('an older bundle is refused, so a withdrawal cannot be undone', () => {
  const withdrawal = bundleFor(v1.proof, v1.contract, [], gateway.peer);
  const result = verifyBundle(withdrawal, { ...rules, pinned: v0.proof });
  assert.deepEqual(result.serves, []);
  assert.deepEqual(stillPublished(result.head.head, [shop]), []);
  assert.deepEqual(stillPublished(v0.head, [shop]), [shop]);
  assert.throws(() => verifyBundle(bundle, { ...rules, pinned: v1.proof }), { code: 'VERSION_OLD' });
});

test('a gateway that knows nothing of a deployment takes no empty bundle', () => {
  const withdrawal = bundleFor(v1.proof, v1.contract, [], gateway.peer);
  assert.throws(() => verifyBundle(withdrawal, rules), { code: 'PUBLISHER_UNKNOWN' });
});

test('newer news counts even from a node that serves nothing any more', () => {
  const services = contract.services.map((service) =>
    service.name === 'web' ? { ...service, on: ['db-1'] } : service,
  );
  const moved = nextVersion(v0, { services });
  const news = bundleFor(moved.proof, moved.contract, [], gateway.peer);
  assert.deepEqual(verifyBundle(news, { ...rules, pinned: v0.proof }).serves, []);
});

test('a publication for another gateway is refused here', () => {
  assert.throws(() => verifyBundle(bundle, { ...rules, gateway: stranger.peer }), { code: 'PUBLICATION_ELSEWHERE' });
});

test('forged heads, forks and other deployments are refused', () => {
  const usurped = signed(contract, null, [stranger]);
  assert.throws(() => verifyBundle({ ...bundle, proof: { ...v0.proof, newest: usurped } }, rules), {
    code: 'HEAD_FORGED',
  });
  const fork = firstVersion({ name: 'fork' });
  assert.throws(() => verifyBundle(bundle, { ...rules, pinned: fork.proof }), { code: 'HEAD_FORKED' });
  const newest = { ...v0.signed, head: { ...v0.head, deployment: 'a'.repeat(26) } };
  const pinned = { ...v0.proof, newest };
  assert.throws(() => verifyBundle(bundle, { ...rules, pinned }), { code: 'GENESIS_MISMATCH' });
});
