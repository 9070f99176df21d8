/** Members prove what they publish; everything else is refused with its code and changes nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError } from '@moat/core';
import { publicationHash, signHead, type PublicationBundle, type PublishRules } from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { GatewayStore } from '../../src/store/store.ts';
import { Desk, refused } from '../desk.ts';
import { NOW, Shop, identity, type Identity } from '../shop.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

test('a member that shows its publication becomes the upstream of its name', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const answer = await desk.show(shop.web1, shop.bundle(shop.first));
  assert.deepEqual(answer, {
    ok: true,
    names: [{ name: 'shop', host: 'shop.localhost', url: 'https://shop.localhost:8443' }],
    refused: [],
  });
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  assert.equal(desk.ledger.isUpstream(shop.web1.peer), true);
  assert.equal(desk.ledger.isUpstream(shop.laptop.peer), false);
  assert.equal(desk.intake.isLive('shop.localhost'), true);
});

test('a machine that joined by invite serves with its witnessed claim, another with its key does not', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const claim = shop.claim();
  assert.equal(refused(await desk.show(shop.laptop, shop.bundle(shop.first))), 'PUBLISHER_UNKNOWN');
  assert.equal((await desk.show(shop.laptop, shop.bundle(shop.first, [claim]))).ok, true);
  await desk.show(shop.web1, shop.bundle(shop.first));
  assert.deepEqual([...desk.membersOf('shop.localhost')].sort(), [shop.laptop.peer, shop.web1.peer].sort());
  const thief = identity('thief');
  assert.equal(refused(await desk.show(thief, shop.bundle(shop.first, [claim]))), 'PUBLISHER_UNKNOWN');
  const unwitnessed = { ...claim, keeper: thief.peer };
  assert.equal(refused(await desk.show(shop.laptop, shop.bundle(shop.first, [unwitnessed]))), 'WITNESS_INVALID');
  const forged = { ...claim, inviteSignature: claim.nodeSignature };
  assert.equal(refused(await desk.show(shop.laptop, shop.bundle(shop.first, [forged]))), 'CLAIM_FORGED');
});

test("two witnessed claims on one place are nobody's", async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const thief = identity('thief');
  await desk.show(shop.laptop, shop.bundle(shop.first, [shop.claim()]));
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.laptop.peer]);
  assert.equal(refused(await desk.show(thief, shop.bundle(shop.first, [shop.claim(thief, 4)]))), 'PUBLISHER_UNKNOWN');
  assert.deepEqual(desk.membersOf('shop.localhost'), []);
  // Frozen for good: until a version decides, showing the claim again changes nothing, nor does a restart.
  assert.equal(refused(await desk.show(shop.laptop, shop.bundle(shop.first, [shop.claim()]))), 'PUBLISHER_UNKNOWN');
  const after = new Desk({ store: desk.store });
  assert.equal(refused(await after.show(shop.laptop, shop.bundle(shop.first, [shop.claim()]))), 'PUBLISHER_UNKNOWN');
});

test('forged bundles are refused and change nothing', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const other = new Shop('two');
  const bundle = shop.bundle(shop.first);
  const [publication] = bundle.publications;
  const { newest } = bundle.proof;
  assert.ok(publication);
  const cases: readonly (readonly [string, Identity, PublicationBundle])[] = [
    ['PUBLICATION_FORGED', shop.web1, { ...bundle, publications: [{ ...publication, service: 'db' }] }],
    ['PUBLICATION_FORGED', shop.web1, { ...bundle, publications: [{ ...publication, name: 'bank' }] }],
    [
      'PUBLICATION_FORGED',
      identity('thief'),
      { ...bundle, publications: [{ ...publication, members: [{ node: identity('thief').peer }] }] },
    ],
    ['PUBLICATION_FORGED', shop.web1, { ...bundle, publications: other.bundle(other.first).publications }],
    [
      'HEAD_FORGED',
      shop.web1,
      {
        ...bundle,
        proof: {
          ...bundle.proof,
          newest: { ...newest, head: { ...newest.head, version: 9, previous: newest.head.contract } },
        },
      },
    ],
    [
      'HEAD_FORGED',
      shop.web1,
      {
        ...bundle,
        proof: {
          ...bundle.proof,
          newest: { head: newest.head, signatures: [signHead(newest.head, other.owner.signer)] },
        },
      },
    ],
    ['GENESIS_MISMATCH', shop.web1, { ...bundle, proof: { ...bundle.proof, genesis: other.genesis } }],
    ['PUBLISHER_UNKNOWN', identity('thief'), bundle],
  ];
  for (const [code, by, forged] of cases) assert.equal(refused(await desk.show(by, forged)), code);
  assert.deepEqual(desk.hosts(), []);
  assert.deepEqual(desk.store.deployments(), []);
  assert.deepEqual(desk.store.names(), []);
});

test('a publication for another gateway is refused', async () => {
  const desk = new Desk();
  const shop = new Shop('one', { gateway: identity('other gateway').peer });
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'PUBLICATION_ELSEWHERE');
});

test('a newer bundle replaces the old whole; the old one never comes back', async () => {
  const desk = new Desk();
  const shop = new Shop('one', { publish: ['shop', 'blog'] });
  const withdrawn = shop.publishing(shop.first, ['blog']);
  await desk.show(shop.web1, shop.bundle(shop.first));
  assert.deepEqual(desk.hosts().sort(), ['blog.localhost', 'shop.localhost']);
  const replayed = { ...shop.bundle(withdrawn), publications: shop.bundle(shop.first).publications };
  assert.equal(refused(await desk.show(shop.web1, replayed)), 'PUBLICATION_WITHDRAWN');
  await desk.show(shop.web1, shop.bundle(withdrawn));
  assert.deepEqual(desk.hosts(), ['blog.localhost']);
  assert.deepEqual(desk.withdrawn, ['shop.localhost']);
  assert.equal(desk.routes.current.isHeld('shop.localhost'), true, "the name stays its holder's");
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'VERSION_OLD');
  assert.equal(refused(await desk.show(shop.web1, replayed)), 'PUBLICATION_FORGED');
  assert.deepEqual(desk.hosts(), ['blog.localhost']);
  const nothing = shop.publishing(withdrawn, []);
  assert.equal((await desk.show(shop.web1, shop.bundle(nothing))).ok, true);
  assert.deepEqual(desk.hosts(), []);
  assert.equal(desk.ledger.isUpstream(shop.web1.peer), false);
  const again = shop.publishing(nothing, ['shop']);
  await desk.show(shop.web1, shop.bundle(again));
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
});

test('a member dropped from a publication is no upstream any more', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  await desk.show(shop.laptop, shop.bundle(shop.first, [shop.claim()]));
  const [web1] = shop.first.contract.members;
  assert.ok(web1);
  const dropped = shop.next(shop.first, { members: [web1] });
  await desk.show(shop.web1, shop.bundle(dropped));
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  assert.equal(desk.ledger.isUpstream(shop.laptop.peer), false);
});

test('a bundle of the same version that shows less takes nothing away', async () => {
  const desk = new Desk();
  const shop = new Shop('one', { publish: ['shop', 'blog'] });
  const bundle = shop.bundle(shop.first);
  await desk.show(shop.web1, bundle);
  await desk.show(shop.web1, { ...bundle, publications: bundle.publications.slice(0, 1) });
  assert.equal(desk.hosts().length, 2);
});

test('the first valid claim wins a name; the second deployment is told who holds it', async () => {
  const desk = new Desk();
  const one = new Shop('one', { publish: ['shop', 'blog'] });
  const two = new Shop('two', { publish: ['shop', 'news'] });
  await desk.show(one.web1, one.bundle(one.first));
  const answer = await desk.show(two.web1, two.bundle(two.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.names.map(({ host }) => host),
    ['news.localhost'],
  );
  assert.deepEqual(
    answer.refused.map(({ name, code }) => [name, code]),
    [['shop', 'NAME_HELD']],
  );
  assert.match(answer.refused[0]?.message ?? '', new RegExp(one.deployment));
  assert.deepEqual(desk.membersOf('shop.localhost'), [one.web1.peer]);
  const three = new Shop('three', { publish: ['shop'] });
  assert.equal(refused(await desk.show(three.web1, three.bundle(three.first))), 'NAME_HELD');
  assert.equal(desk.ledger.get(three.deployment), undefined, 'nothing of it is kept');
});

test('names outside the domain, too many, and kinds not served are refused one by one', async () => {
  const desk = new Desk({ limits: { namesPerDeployment: 2 } });
  const shop = new Shop('one', { publish: ['a', 'www.shop.example', 'b.localhost', 'x.y.localhost', 'c'] });
  const answer = await desk.show(shop.web1, shop.bundle(shop.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.names.map(({ host }) => host),
    ['a.localhost', 'b.localhost'],
  );
  assert.deepEqual(Object.fromEntries(answer.refused.map(({ name, code }) => [name, code])), {
    'www.shop.example': 'PROOF_MISSING',
    'x.y.localhost': 'NAME_INVALID',
    c: 'NAME_LIMIT',
  });
  const raw = new Shop('two');
  const rules = { ofALaterVersion: true } as PublishRules;
  const ruled = raw.next(raw.first, { publish: [raw.line('p', { rules })] });
  assert.equal(refused(await desk.show(raw.web1, raw.bundle(ruled))), 'PUBLICATION_UNSUPPORTED');
});

test('only allowed deployments may publish', async () => {
  const shop = new Shop('one');
  const desk = new Desk({ publishers: { allow: [shop.deployment] } });
  const other = new Shop('two', { publish: ['other'] });
  assert.equal((await desk.show(shop.web1, shop.bundle(shop.first))).ok, true);
  assert.equal(refused(await desk.show(other.web1, other.bundle(other.first))), 'PUBLISHER_REFUSED');
});

test('a restarted gateway knows names and pins, and serves a member only when it comes again', async () => {
  const store = openSqliteStore(':memory:');
  const before = new Desk({ store });
  const shop = new Shop('one');
  const next = shop.publishing(shop.first, ['shop']);
  await before.show(shop.web1, shop.bundle(next));
  const after = new Desk({ store });
  assert.equal(after.registry.get('shop.localhost')?.deployment, shop.deployment);
  assert.deepEqual(after.hosts(), ['shop.localhost']);
  assert.deepEqual(after.membersOf('shop.localhost'), []);
  assert.equal(after.intake.isLive('shop.localhost'), false);
  assert.equal(refused(await after.show(shop.web1, shop.bundle(shop.first))), 'VERSION_OLD');
  const thief = new Shop('two');
  assert.equal(refused(await after.show(thief.web1, thief.bundle(thief.first))), 'NAME_HELD');
  await after.show(shop.web1, shop.bundle(next));
  assert.deepEqual(after.membersOf('shop.localhost'), [shop.web1.peer]);
});

test('a name is released a day after its last live member, thirty once it served', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock });
  const shop = new Shop('one', { publish: ['never', 'often'] });
  await desk.show(shop.web1, shop.bundle(shop.first));
  desk.intake.markServed('often.localhost');
  // Live names are renewed, however long it takes.
  for (let i = 0; i < 24 * 40; i++) {
    clock.advance(HOUR);
    desk.intake.sweep();
  }
  assert.equal(desk.registry.list().length, 2);
  desk.connected.clear();
  clock.advance(DAY + HOUR);
  desk.intake.sweep();
  assert.deepEqual(
    desk.registry.list().map(({ host }) => host),
    ['often.localhost'],
  );
  assert.deepEqual(desk.hosts(), ['often.localhost']);
  const other = new Shop('two', { publish: ['never', 'often'] });
  const answer = await desk.show(other.web1, other.bundle(other.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.names.map(({ name }) => name),
    ['never'],
  );
  desk.connected.clear();
  clock.advance(30 * DAY);
  desk.intake.sweep();
  assert.equal(desk.registry.get('often.localhost'), undefined);
  assert.deepEqual(desk.store.names(), []);
});

test("a withdrawn name is its holder's for 30 days, others are told until when", async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock });
  const [shop, other] = [new Shop('one'), new Shop('two')];
  await desk.show(shop.web1, shop.bundle(shop.first));
  desk.intake.markServed('shop.localhost');
  const withdrawn = shop.publishing(shop.first, []);
  await desk.show(shop.web1, shop.bundle(withdrawn));
  assert.deepEqual(desk.hosts(), []);
  assert.equal(desk.routes.current.isHeld('shop.localhost'), true, '404, not unknown');
  clock.advance(29 * DAY);
  desk.intake.sweep();
  const told = await desk.show(other.web1, other.bundle(other.first));
  assert.ok(!told.ok);
  assert.equal(told.code, 'NAME_HELD');
  assert.match(told.message, /since 2026-11-20; it is free on 2026-12-20/);
  const again = shop.publishing(withdrawn, ['shop']);
  assert.equal((await desk.show(shop.web1, shop.bundle(again))).ok, true);
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  const over = shop.publishing(again, []);
  await desk.show(shop.web1, shop.bundle(over));
  clock.advance(30 * DAY);
  desk.intake.sweep();
  assert.equal((await desk.show(other.web1, other.bundle(other.first))).ok, true);
  assert.deepEqual(desk.membersOf('shop.localhost'), [other.web1.peer]);
  const late = await desk.show(shop.web1, shop.bundle(shop.publishing(over, ['shop'])));
  assert.equal(late.ok && late.refused[0]?.code, 'NAME_HELD');
});

test('a gateway that was away for a year gives its members a day to come back', async () => {
  const store = openSqliteStore(':memory:');
  const shop = new Shop('one');
  const before = new Desk({ store });
  await before.show(shop.web1, shop.bundle(shop.first));
  const clock = createManualClock(NOW + 365 * DAY);
  const after = new Desk({ store, clock });
  after.intake.sweep();
  assert.equal(after.registry.get('shop.localhost')?.deployment, shop.deployment);
  clock.advance(DAY + 1);
  after.intake.sweep();
  assert.equal(after.registry.get('shop.localhost'), undefined);
});

test('a full disk refuses what is new and serves what is there', async () => {
  const inner = openSqliteStore(':memory:');
  let full = false;
  const store: GatewayStore = {
    names: () => inner.names(),
    nameGrants: () => inner.nameGrants(),
    certificates: () => inner.certificates(),
    deployments: () => inner.deployments(),
    publishers: () => inner.publishers(),
    invites: () => inner.invites(),
    suspensions: () => inner.suspensions(),
    audit: inner.audit,
    directory: inner.directory,
    backup: (path) => inner.backup(path),
    pruneAudit: (...bounds) => inner.pruneAudit(...bounds),
    commit: (change) => {
      if (full) throw new MoatError('DISK_FULL', 'the disk of the gateway database is full', { retryable: true });
      inner.commit(change);
    },
    close: () => inner.close(),
  };
  const desk = new Desk({ store });
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  full = true;
  const next = shop.publishing(shop.first, ['other']);
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(next))), 'DISK_FULL');
  assert.deepEqual(desk.hosts(), ['shop.localhost']);
  desk.intake.markServed('shop.localhost');
  assert.equal(desk.registry.get('shop.localhost')?.served, false);
  full = false;
  assert.equal((await desk.show(shop.web1, shop.bundle(next))).ok, true);
  assert.deepEqual(desk.hosts(), ['other.localhost']);
});

test('what is kept of one head is no larger than one bundle, however often parts of it are shown', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const [publication] = shop.bundle(shop.first).publications;
  assert.ok(publication);
  const crowd = Array.from({ length: 2_000 }, (_, i) => ({ node: `12D3KooW${String(i).padStart(44, '1')}` }));
  const members = [{ node: shop.web1.peer }, ...crowd];
  const large = Array.from({ length: 40 }, (_, i) => ({ ...publication, name: `n${i}`, members }));
  const head = { ...shop.first.proof.newest.head, publications: large.map(publicationHash).sort() };
  const newest = { head, signatures: [signHead(head, shop.owner.signer)] };
  const proof = { ...shop.first.proof, newest };
  for (const one of large) {
    await desk.show(shop.web1, { proof, publications: [one], claims: [] });
  }
  const [kept] = desk.store.deployments();
  assert.ok(JSON.stringify(kept?.publications).length <= 1_048_576);
  const last = await desk.show(shop.web1, { proof, publications: large.slice(-1), claims: [] });
  assert.equal(refused(last), 'PUBLICATION_UNSUPPORTED');
});

test('the name of a connected member is nobody else’s, though the clock jumped or the disk was full for days', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock });
  const [shop, thief] = [new Shop('one'), new Shop('two')];
  await desk.show(shop.web1, shop.bundle(shop.first));
  clock.advance(40 * DAY);
  assert.equal(refused(await desk.show(thief.web1, thief.bundle(thief.first))), 'NAME_HELD');
  desk.intake.refreshRoutes();
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  desk.connected.clear();
  assert.equal((await desk.show(thief.web1, thief.bundle(thief.first))).ok, true);
  assert.deepEqual(desk.membersOf('shop.localhost'), [thief.web1.peer]);
});

test('a member that comes again with the same makes no new routes', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  const { version } = desk.routes;
  for (let i = 0; i < 3; i++) assert.equal((await desk.show(shop.web1, shop.bundle(shop.first))).ok, true);
  assert.equal(desk.routes.version, version);
  await desk.show(shop.laptop, shop.bundle(shop.first, [shop.claim()]));
  assert.equal(desk.routes.version, version + 1);
  desk.intake.decide(shop.deployment, 'deny', null);
  desk.intake.decide(shop.deployment, 'allow', null);
  await desk.show(shop.web1, shop.bundle(shop.first));
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
});
