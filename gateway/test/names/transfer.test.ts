/** Names that a deployment gives up, signed by its owners. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PublishAnswer } from '@moat/overlay';
import { Desk, refused } from '../desk.ts';
import { Shop, type ShopVersion } from '../shop.ts';

function giving(shop: Shop, before: ShopVersion, name: string, transfer: string): ShopVersion {
  return shop.next(before, { publish: [shop.line(name, { transfer })] });
}

function codesOf(answer: PublishAnswer): string[] {
  return answer.ok ? answer.refused.map(({ code }) => code) : [answer.code];
}

test('a name is given to the deployment that its holder names, once that publishes it, and to no other', async () => {
  const desk = new Desk();
  const [one, two, three] = ['one', 'two', 'three'].map((name) => new Shop(name, { publish: ['shop'] })) as [
    Shop,
    Shop,
    Shop,
  ];
  await desk.show(one.web1, one.bundle(one.first));
  const given = giving(one, one.first, 'shop', two.deployment);
  assert.deepEqual(codesOf(await desk.show(one.web1, one.bundle(given))), ['NAME_GIVEN']);
  assert.deepEqual(desk.hosts(), [], 'nothing is served under it');
  assert.deepEqual(desk.withdrawn, ['shop.localhost']);
  assert.equal(refused(await desk.show(three.web1, three.bundle(three.first))), 'NAME_HELD');
  assert.equal(desk.registry.get('shop.localhost')?.deployment, one.deployment, 'nobody is made to hold a name');
  assert.equal((await desk.show(two.web1, two.bundle(two.first))).ok, true);
  assert.deepEqual(desk.membersOf('shop.localhost'), [two.web1.peer]);
  // The old line says nothing any more.
  assert.deepEqual(codesOf(await desk.show(one.web1, one.bundle(given))), ['NAME_GIVEN']);
  assert.equal(desk.registry.get('shop.localhost')?.deployment, two.deployment);
  const back = one.publishing(given, ['shop']);
  assert.deepEqual(codesOf(await desk.show(one.web1, one.bundle(back))), ['NAME_HELD']);
});

test('a name given to nobody is anybody’s at once', async () => {
  const desk = new Desk({ limits: { namesPerDeployment: 1 } });
  const [one, two] = [new Shop('one', { publish: ['shop'] }), new Shop('two', { publish: ['shop'] })];
  await desk.show(one.web1, one.bundle(one.first));
  const given = giving(one, one.first, 'shop', 'nobody');
  assert.deepEqual(codesOf(await desk.show(one.web1, one.bundle(given))), ['NAME_GIVEN']);
  assert.equal(desk.registry.get('shop.localhost'), undefined);
  assert.equal(desk.routes.current.isHeld('shop.localhost'), false);
  assert.equal(desk.registry.heldBy(one.deployment), 0, 'it does not count any more');
  assert.equal((await desk.show(two.web1, two.bundle(two.first))).ok, true);
  assert.deepEqual(desk.membersOf('shop.localhost'), [two.web1.peer]);
});

test('an offer that is taken back before anybody took it leaves the name where it was', async () => {
  const desk = new Desk();
  const [one, two] = [new Shop('one', { publish: ['shop'] }), new Shop('two', { publish: ['shop'] })];
  await desk.show(one.web1, one.bundle(one.first));
  const given = giving(one, one.first, 'shop', two.deployment);
  await desk.show(one.web1, one.bundle(given));
  await desk.show(one.web1, one.bundle(one.publishing(given, ['shop'])));
  assert.deepEqual(desk.membersOf('shop.localhost'), [one.web1.peer]);
  assert.equal(refused(await desk.show(two.web1, two.bundle(two.first))), 'NAME_HELD');
});
