/** Which head a gateway believes: the newest it has seen, whoever shows it; and memberships that end by the clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  extendProof,
  headHash,
  headOf,
  mergedBranch,
  mergingHead,
  mergingVersion,
  ownersHash,
  signHead,
  type HeadProof,
  type PublicationBundle,
} from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { Desk, refused } from '../desk.ts';
import { NOW, Shop, identity, type ShopVersion } from '../shop.ts';

const HOUR = 3_600_000;

/** Version 1 hands the deployment to `heir`, with the version 2 that seals it. */
function succession(
  shop: Shop,
  heirName = 'heir',
  names: readonly string[] = ['shop'],
): { readonly handed: ShopVersion; readonly sealed: ShopVersion } {
  const heir = identity(heirName);
  const publish = names.map((name) => shop.line(name));
  const owners = { threshold: 1, keys: [{ name: 'eve', key: heir.key, weight: 1 }] };
  const contract = { ...shop.first.contract, owners, publish, version: 1 };
  const head = headOf(contract, headHash(shop.first.proof.newest.head));
  const set = { threshold: 1, keys: [{ key: heir.key, weight: 1 }] };
  assert.equal(head.owners, ownersHash(set));
  const newest = { head, signatures: [signHead(head, shop.owner.signer), signHead(head, heir.signer)] };
  const successions = [{ ...newest, owners: set }];
  const handed = { contract, proof: { genesis: shop.genesis, successions, newest } };
  const sealing = { ...contract, version: 2 };
  const seal = headOf(sealing, headHash(head));
  const proof: HeadProof = {
    genesis: shop.genesis,
    successions,
    newest: { head: seal, signatures: [signHead(seal, heir.signer)] },
  };
  return { handed, sealed: { contract: sealing, proof } };
}

/** What the dropped owner signs beside the succession: a second version 1, with a name of its own. */
function usurped(shop: Shop): PublicationBundle {
  return shop.bundle(shop.publishing(shop.first, ['shop', 'stolen']));
}

test('where one succession is known, another that the same owners sign is none, sealed or not', async () => {
  const shop = new Shop('one');
  const rival = succession(shop, 'rival', ['shop', 'stolen']);
  for (const known of [succession(shop).handed, succession(shop).sealed]) {
    const desk = new Desk();
    await desk.show(shop.web1, shop.bundle(known));
    for (const offered of [rival.handed, rival.sealed]) {
      assert.equal((await desk.show(shop.web1, shop.bundle(offered))).ok, false);
      assert.deepEqual(desk.hosts(), ['shop.localhost']);
    }
  }
});

/** The version that ends the fork: it goes on from `ours`. */
function merging(shop: Shop, ours: ShopVersion, theirs: ShopVersion, names: readonly string[]): ShopVersion {
  const version = mergingVersion(ours.proof, theirs.proof);
  const contract = { ...ours.contract, version, publish: names.map((name) => shop.line(name)) };
  const head = mergingHead(contract, ours.proof, theirs.proof);
  const signed = { head, signatures: [signHead(head, shop.owner.signer)] };
  const branch = mergedBranch(ours.proof, theirs.proof);
  return { contract, proof: extendProof(ours.proof, shop.genesis, signed, contract.owners, branch) };
}

test('where the succession is known, a dropped owner changes nothing', async () => {
  const shop = new Shop('one');
  for (const before of [succession(shop).handed, succession(shop).sealed]) {
    const desk = new Desk();
    await desk.show(shop.web1, shop.bundle(before));
    assert.match(refused(await desk.show(shop.web1, usurped(shop))), /^(HEAD_FORKED|VERSION_OLD)$/);
    assert.deepEqual(desk.hosts(), ['shop.localhost']);
    const after = new Desk({ store: desk.store });
    assert.match(refused(await after.show(shop.web1, usurped(shop))), /^(HEAD_FORKED|VERSION_OLD)$/);
  }
});

test('a gateway new to the deployment believes an old head until one current member connects', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  assert.deepEqual(desk.hosts(), ['shop.localhost']);
  const withdrawn = shop.publishing(shop.first, ['blog']);
  await desk.show(shop.laptop, shop.bundle(withdrawn, [shop.claim()]));
  assert.deepEqual(desk.hosts(), ['blog.localhost']);
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'VERSION_OLD');
});

test('what a former quorum signed beside the succession holds at a new gateway until then, however high', async () => {
  for (const steps of [1, 5]) {
    const desk = new Desk();
    const shop = new Shop('one');
    let stolen = shop.first;
    for (let i = 0; i < steps; i++) stolen = shop.publishing(stolen, ['shop', 'stolen']);
    await desk.show(shop.web1, shop.bundle(stolen));
    assert.ok(desk.hosts().includes('stolen.localhost'));
    // The head that hands over is not enough: without its seal it stands beside the other.
    assert.match(
      refused(await desk.show(shop.laptop, shop.bundle(succession(shop).handed, [shop.claim()]))),
      /^(HEAD_FORKED|VERSION_OLD)$/,
    );
    assert.equal((await desk.show(shop.laptop, shop.bundle(succession(shop).sealed, [shop.claim()]))).ok, true);
    assert.deepEqual(desk.hosts(), ['shop.localhost']);
    assert.notEqual((await desk.show(shop.web1, shop.bundle(shop.publishing(stolen, ['shop', 'again'])))).ok, true);
    assert.deepEqual(desk.hosts(), ['shop.localhost']);
  }
});

test('where a former quorum showed its own change of owners first, the operator forgets it and nobody else gets the name', async () => {
  const store = openSqliteStore(':memory:');
  const desk = new Desk({ store, publishers: 'invited' });
  const shop = new Shop('one');
  desk.intake.decide(shop.deployment, 'allow', 3);
  const rules = desk.publishers.rules();
  const current = shop.bundle(succession(shop).sealed, [shop.claim()]);
  const usurping = shop.bundle(succession(shop, 'rival', ['shop', 'stolen']).sealed);
  assert.equal((await desk.show(shop.web1, usurping)).ok, true);
  for (let i = 0; i < 3; i++) assert.equal(refused(await desk.show(shop.laptop, current)), 'HEAD_FORGED');

  desk.clock.advance(HOUR / 2);
  assert.deepEqual(desk.intake.forget(shop.deployment), { version: 2, held: 2 });
  assert.deepEqual(desk.hosts(), []);
  assert.deepEqual(desk.withdrawn.sort(), ['shop.localhost', 'stolen.localhost']);
  assert.deepEqual(desk.dropped, [{ deployment: shop.deployment, peer: shop.web1.peer }]);
  assert.equal(desk.ledger.isUpstream(shop.web1.peer), false);
  assert.deepEqual(store.deployments(), []);
  assert.deepEqual(desk.publishers.rules(), rules, 'what was decided stays');
  // Its names stay its own, for a whole lease from now on and over a restart.
  const thief = new Shop('thief');
  const after = new Desk({ store, publishers: 'open', clock: desk.clock });
  for (const each of [desk, after]) {
    each.publishers.decide(thief.deployment, 'allow', null);
    assert.equal(refused(await each.show(thief.web1, thief.bundle(thief.first))), 'NAME_HELD');
    assert.deepEqual(new Set(each.registry.list().map(({ lastLiveMs }) => lastLiveMs)), new Set([NOW + HOUR / 2]));
  }

  assert.equal((await after.show(shop.laptop, current)).ok, true);
  assert.deepEqual(after.hosts(), ['shop.localhost']);
  assert.equal(refused(await after.show(shop.web1, usurping)), 'HEAD_FORGED');
});

test('to forget what is not known changes nothing, and what is not on disk is not forgotten', async (t) => {
  const store = openSqliteStore(':memory:');
  const desk = new Desk({ store });
  const shop = new Shop('one');
  assert.deepEqual(desk.intake.forget(shop.deployment), { version: null, held: 0 });
  await desk.show(shop.web1, shop.bundle(shop.first));
  t.mock.method(store, 'commit', () => {
    throw new Error('disk');
  });
  assert.throws(() => desk.intake.forget(shop.deployment));
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  assert.deepEqual(desk.dropped, []);
});

test('the newest head seen is on disk', async () => {
  const store = openSqliteStore(':memory:');
  const desk = new Desk({ store });
  const shop = new Shop('one');
  const current = await desk.show(shop.laptop, shop.bundle(succession(shop).sealed, [shop.claim()]));
  assert.equal(current.ok, true);
  const after = new Desk({ store });
  assert.equal(refused(await after.show(shop.web1, usurped(shop))), 'VERSION_OLD');
});

test('in a fork what is served is kept, and nothing of the other branch is taken until one head ends both', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const left = shop.publishing(shop.first, ['shop', 'left']);
  const right = shop.publishing(shop.first, ['shop', 'right']);
  await desk.show(shop.web1, shop.bundle(left));
  for (const other of [right, shop.publishing(right, ['shop', 'right', 'more'])]) {
    await desk.show(shop.web1, shop.bundle(right));
    assert.equal(desk.hosts().includes('right.localhost'), false, `version ${other.contract.version}`);
  }
  assert.deepEqual(desk.hosts().sort(), ['left.localhost', 'shop.localhost']);

  const merged = merging(shop, left, right, ['right']);
  assert.equal((await desk.show(shop.web1, shop.bundle(merged))).ok, true);
  assert.deepEqual(desk.hosts(), ['right.localhost']);
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(left))), 'VERSION_OLD');
});

test('a membership that ends is no upstream from that moment, without a new version', async () => {
  const clock = createManualClock(NOW);
  const desk = new Desk({ clock });
  const shop = new Shop('one');
  const [web1, laptop] = shop.first.contract.members;
  assert.ok(web1 && laptop);
  const expires = new Date(NOW + HOUR).toISOString().replace('.000Z', 'Z');
  const limited = shop.next(shop.first, { members: [web1, { ...laptop, expires }] });
  await desk.show(shop.web1, shop.bundle(limited));
  await desk.show(shop.laptop, shop.bundle(limited, [shop.claim()]));
  assert.equal(desk.membersOf('shop.localhost').length, 2);
  clock.advance(HOUR - 1);
  assert.equal(desk.membersOf('shop.localhost').length, 2);
  clock.advance(1);
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  assert.equal(desk.ledger.isUpstream(shop.laptop.peer), false);
  assert.deepEqual(desk.dropped, [{ deployment: shop.deployment, peer: shop.laptop.peer }]);
  assert.equal(refused(await desk.show(shop.laptop, shop.bundle(limited, [shop.claim()]))), 'MEMBER_EXPIRED');
});

test('who shows that it was dropped is dropped with the answer, its connection is not cut before it', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  await desk.show(shop.laptop, shop.bundle(shop.first, [shop.claim()]));
  const [web1] = shop.first.contract.members;
  assert.ok(web1);
  const dropped = shop.next(shop.first, { members: [web1] });
  assert.deepEqual(await desk.show(shop.laptop, shop.bundle(dropped)), { ok: true, names: [], refused: [] });
  assert.deepEqual(desk.membersOf('shop.localhost'), [shop.web1.peer]);
  assert.deepEqual(desk.dropped, [], 'the answer without names is what ends its admission');
});
