/** Who may publish, by file, by word and by code, and how much. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OwnerSignature, PublicationBundle, Succession } from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { Desk, refused } from '../desk.ts';
import { NOW, Shop } from '../shop.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NEW = { names: null, uses: 1, expiresMs: NOW + 7 * DAY };

test('without an invitation a deployment is refused with the line its operator types', async () => {
  const desk = new Desk({ publishers: 'invited' });
  const shop = new Shop('one');
  const answer = await desk.show(shop.web1, shop.bundle(shop.first));
  assert.ok(!answer.ok);
  assert.equal(answer.code, 'PUBLISHER_NOT_INVITED');
  assert.ok(answer.message.includes(`moat gateway allow ${shop.deployment}`), answer.message);
  assert.deepEqual(desk.store.deployments(), []);
  desk.intake.decide(shop.deployment, 'allow', null);
  assert.equal((await desk.show(shop.web1, shop.bundle(shop.first))).ok, true);
});

test('a code lets in as many deployments as it is for, each with its names, and outlives a restart', async () => {
  const store = openSqliteStore(':memory:');
  const before = new Desk({ publishers: 'invited', store });
  const { code, record } = before.publishers.invite({ ...NEW, names: 1, uses: 2 });
  assert.match(code, /^moatcode-[\w-]{43}$/);
  assert.ok(!JSON.stringify(store.invites()).includes(code.slice('moatcode-'.length)), 'only its hash is kept');
  const [one, two, three] = [new Shop('one', { publish: ['a', 'b'] }), new Shop('two'), new Shop('three')];
  assert.equal((await before.redeem(one.web1, one.deployment, code)).ok, true);
  const desk = new Desk({ publishers: 'invited', store });
  // Again for the same deployment changes nothing; somebody else may hand it in.
  assert.equal((await desk.redeem(one.laptop, one.deployment, ` ${code}\n`)).ok, true);
  assert.equal(store.invites()[0]?.used, 1);
  assert.equal((await desk.redeem(two.web1, two.deployment, code)).ok, true);
  assert.equal(refused(await desk.redeem(three.web1, three.deployment, code)), 'CODE_INVALID');
  assert.equal((await desk.redeem(two.web1, two.deployment, code)).ok, true);
  const answer = await desk.show(one.web1, one.bundle(one.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.refused.map(({ name, code: why }) => [name, why]),
    [['b', 'NAME_LIMIT']],
  );
  assert.equal(desk.publishers.rules()[0]?.invite, record.hash);
  assert.deepEqual(desk.publishers.openInvites(), []);
});

test('a code ends, a denial does not', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ publishers: 'invited', clock });
  const shop = new Shop('one');
  const { code } = desk.publishers.invite(NEW);
  desk.intake.decide(shop.deployment, 'deny', null);
  assert.equal(refused(await desk.redeem(shop.web1, shop.deployment, code)), 'PUBLISHER_REFUSED');
  clock.advance(7 * DAY);
  assert.equal(refused(await desk.redeem(shop.web1, new Shop('two').deployment, code)), 'CODE_INVALID');
  desk.publishers.invite({ ...NEW, expiresMs: NOW + 8 * DAY });
  assert.equal(desk.store.invites().length, 1, 'what nobody can use is not kept');
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'PUBLISHER_REFUSED');
});

test('wrong codes are few an hour from one address; others are not held up', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ publishers: 'invited', clock });
  const shop = new Shop('one');
  const { code } = desk.publishers.invite(NEW);
  const guess = `moatcode-${'A'.repeat(43)}`;
  for (let i = 0; i < 10; i++) {
    assert.equal(refused(await desk.redeem(shop.web1, shop.deployment, i % 2 ? guess : 'x')), 'CODE_INVALID');
  }
  assert.equal(refused(await desk.redeem(shop.web1, shop.deployment, code)), 'CODE_GUESSES');
  assert.equal((await desk.redeem(shop.web1, shop.deployment, code, '192.0.2.2')).ok, true);
  clock.advance(HOUR / 10);
  assert.equal((await desk.redeem(shop.web1, shop.deployment, code)).ok, true);
});

test('a denial takes the routes and the upstreams at once, survives, and is taken back', async () => {
  const store = openSqliteStore(':memory:');
  const desk = new Desk({ store });
  const [shop, other] = [new Shop('one'), new Shop('two', { publish: ['other'] })];
  await desk.show(shop.web1, shop.bundle(shop.first));
  await desk.show(other.web1, other.bundle(other.first));
  desk.intake.decide(shop.deployment, 'deny', null);
  assert.deepEqual(desk.hosts(), ['other.localhost']);
  assert.deepEqual(desk.withdrawn, ['shop.localhost']);
  assert.deepEqual(desk.dropped, [{ deployment: shop.deployment, peer: shop.web1.peer }]);
  assert.equal(desk.ledger.isUpstream(shop.web1.peer), false);
  assert.equal(desk.ledger.isUpstream(other.web1.peer), true);
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'PUBLISHER_REFUSED');
  const after = new Desk({ store });
  assert.deepEqual(after.hosts(), ['other.localhost']);
  // The name stays its holder's while the operator thinks it over.
  const thief = new Shop('three');
  assert.equal(refused(await after.show(thief.web1, thief.bundle(thief.first))), 'NAME_HELD');
  after.intake.decide(shop.deployment, 'allow', null);
  assert.equal((await after.show(shop.web1, shop.bundle(shop.first))).ok, true);
  assert.deepEqual(after.membersOf('shop.localhost'), [shop.web1.peer]);
});

test('a decision that cannot be kept does not count', () => {
  const inner = openSqliteStore(':memory:');
  const desk = new Desk({
    publishers: 'invited',
    store: {
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
      commit: () => {
        throw new Error('disk');
      },
      close: () => inner.close(),
    },
  });
  const { deployment } = new Shop('one');
  assert.throws(() => desk.intake.decide(deployment, 'allow', null));
  assert.equal(desk.publishers.mayPublish(deployment), false);
  assert.throws(() => desk.publishers.invite(NEW));
  assert.deepEqual(desk.publishers.openInvites(), []);
});

test('an address brings so many deployments, names and bundles an hour', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock, limits: { newDeploymentsPerHour: 2, newNamesPerHour: 3, bundlesPerHour: 6 } });
  const [a, b, c] = ['a', 'b', 'c'].map((name) => new Shop(name, { publish: [`${name}1`, `${name}2`] }));
  assert.ok(a && b && c);
  assert.equal((await desk.show(a.web1, a.bundle(a.first))).ok, true);
  const second = await desk.show(b.web1, b.bundle(b.first));
  assert.ok(second.ok);
  assert.deepEqual(
    second.refused.map(({ name, code }) => [name, code]),
    [['b2', 'PUBLISH_RATE']],
  );
  assert.equal(refused(await desk.show(c.web1, c.bundle(c.first))), 'PUBLISH_RATE');
  assert.deepEqual(desk.hosts().sort(), ['a1.localhost', 'a2.localhost', 'b1.localhost']);
  // Who is known is not held up by who is new, up to the number of bundles.
  for (let i = 0; i < 3; i++) assert.equal((await desk.show(a.web1, a.bundle(a.first))).ok, true);
  assert.equal(refused(await desk.show(a.web1, a.bundle(a.first))), 'PUBLISH_RATE');
  assert.equal((await desk.show(c.web1, c.bundle(c.first), '192.0.2.2')).ok, true);
  clock.advance(HOUR);
  assert.equal((await desk.show(b.web1, b.bundle(b.first))).ok, true);
  assert.ok(desk.hosts().includes('b2.localhost'));
});

test('a bundle counts as what it costs to verify, before anything of it is verified', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock, limits: { bundlesPerHour: 10 } });
  const shop = new Shop('one');
  const bundle = shop.bundle(shop.first);
  const { proof } = bundle;
  const signed = proof.newest;
  const [signature] = signed.signatures;
  assert.ok(signature);
  const many = (count: number): OwnerSignature[] => Array.from({ length: count }, () => signature);
  const owners = { threshold: 1, keys: [] };
  const branch = { shared: 0, successions: [], newest: { ...signed, signatures: many(64) }, previous: signed.head };
  const costly = (successions: readonly Succession[]): PublicationBundle => ({
    ...bundle,
    proof: { ...proof, successions },
  });
  // 64 beside the merged branch's 64, and 1: three bundles' worth, and nothing of it is true
  const forged = costly([{ ...signed, signatures: many(64), owners, merged: branch }]);
  assert.equal(refused(await desk.show(shop.laptop, forged)), 'HEAD_FORGED');
  for (let i = 0; i < 7; i++) assert.equal((await desk.show(shop.web1, bundle)).ok, true);
  assert.equal(refused(await desk.show(shop.web1, bundle)), 'PUBLISH_RATE');
  // What costs more than there is left is refused as it is; what costs less goes on.
  clock.advance(HOUR / 5);
  assert.equal(refused(await desk.show(shop.laptop, forged)), 'PUBLISH_RATE');
  assert.equal((await desk.show(shop.web1, bundle)).ok, true);
  // Nobody is shut out for good: the costliest takes a whole hour's bundles at most.
  clock.advance(HOUR);
  const full = costly(Array.from({ length: 16 }, () => ({ ...signed, signatures: many(64), owners })));
  assert.notEqual(refused(await desk.show(shop.laptop, full)), 'PUBLISH_RATE');
  assert.equal(refused(await desk.show(shop.web1, bundle)), 'PUBLISH_RATE');
});

test('names, deployments and members have bounds in all; what is above is refused and drops nothing', async () => {
  const desk = new Desk({ limits: { names: 2, deployments: 2, membersPerDeployment: 1 } });
  const [a, b, c] = [new Shop('a', { publish: ['a'] }), new Shop('b', { publish: ['b', 'b2'] }), new Shop('c')];
  await desk.show(a.web1, a.bundle(a.first));
  const answer = await desk.show(b.web1, b.bundle(b.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.refused.map(({ name, code }) => [name, code]),
    [['b2', 'GATEWAY_BUSY']],
  );
  assert.equal(refused(await desk.show(c.web1, c.bundle(c.first))), 'GATEWAY_BUSY');
  assert.equal(refused(await desk.show(a.laptop, a.bundle(a.first, [a.claim()]))), 'MEMBER_LIMIT');
  assert.equal((await desk.show(a.web1, a.bundle(a.first))).ok, true);
  assert.deepEqual(desk.hosts().sort(), ['a.localhost', 'b.localhost']);
});

test('a deployment that holds no name is forgotten after a quarter, and its place is free', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock, limits: { deployments: 1 } });
  const [a, b] = [new Shop('a', { publish: ['a'] }), new Shop('b', { publish: ['b'] })];
  await desk.show(a.web1, a.bundle(a.first));
  const nothing = a.publishing(a.first, []);
  await desk.show(a.web1, a.bundle(nothing));
  desk.connected.clear();
  clock.advance(2 * DAY);
  desk.intake.sweep();
  assert.equal(refused(await desk.show(a.web1, a.bundle(a.first))), 'VERSION_OLD', 'the pin outlives the name');
  clock.advance(89 * DAY);
  desk.intake.sweep();
  assert.deepEqual(desk.store.deployments(), []);
  assert.equal((await desk.show(b.web1, b.bundle(b.first))).ok, true);
});
