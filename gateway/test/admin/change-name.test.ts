/** What an operator does with single names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeName } from '../../src/admin/change-name.ts';
import { Desk, refused } from '../desk.ts';
import { Shop } from '../shop.ts';

const DAY = 24 * 3_600_000;

function operator(desk: Desk): (request: Parameters<typeof changeName>[2]) => ReturnType<typeof changeName> {
  return (request) => changeName(desk, 'localhost', request);
}

test('a reserved name goes to whom the operator allowed it, also after a restart, and to nobody else', async () => {
  const desk = new Desk({ reserved: ['admin'] });
  const [one, two] = [new Shop('one', { publish: ['admin'] }), new Shop('two', { publish: ['admin'] })];
  assert.equal(refused(await desk.show(one.web1, one.bundle(one.first))), 'NAME_RESERVED');
  const allowed = operator(desk)({ name: 'admin', action: 'allow', deployment: one.deployment });
  assert.deepEqual(allowed, { host: 'admin.localhost', holder: null });
  const restarted = new Desk({ reserved: ['admin'], store: desk.store });
  assert.equal(refused(await restarted.show(two.web1, two.bundle(two.first))), 'NAME_RESERVED');
  assert.equal((await restarted.show(one.web1, one.bundle(one.first))).ok, true);
});

test('a transferred name is the new holder’s at once, whatever the old one shows', async () => {
  const desk = new Desk();
  const [one, two] = [new Shop('one', { publish: ['shop'] }), new Shop('two', { publish: ['shop'] })];
  await desk.show(one.web1, one.bundle(one.first));
  desk.intake.markServed('shop.localhost');
  assert.equal(refused(await desk.show(two.web1, two.bundle(two.first))), 'NAME_HELD');
  const to = { name: 'shop', action: 'transfer', deployment: two.deployment } as const;
  assert.deepEqual(operator(desk)(to), { host: 'shop.localhost', holder: two.deployment });
  assert.deepEqual(desk.withdrawn, ['shop.localhost']);
  assert.deepEqual(desk.news, [one.web1.peer]);
  const again = await desk.show(one.web1, one.bundle(one.first));
  assert.deepEqual(again.ok && again.refused.map(({ code }) => code), ['NAME_HELD']);
  await desk.show(two.web1, two.bundle(two.first));
  assert.deepEqual(desk.membersOf('shop.localhost'), [two.web1.peer]);
  // It served before, so it is held for as long as such a name is.
  desk.connected.clear();
  desk.clock.advance(29 * DAY);
  assert.equal(desk.registry.get('shop.localhost')?.deployment, two.deployment);
});

test('a name that is held for nothing can be set free, one that is published cannot', async () => {
  const desk = new Desk();
  const shop = new Shop('one', { publish: ['shop', 'blog'] });
  await desk.show(shop.web1, shop.bundle(shop.first));
  assert.throws(() => operator(desk)({ name: 'shop', action: 'release' }), { code: 'NAME_PUBLISHED' });
  await desk.show(shop.web1, shop.bundle(shop.publishing(shop.first, ['blog'])));
  assert.deepEqual(operator(desk)({ name: 'shop', action: 'release' }), { host: 'shop.localhost', holder: null });
  const two = new Shop('two', { publish: ['shop'] });
  assert.equal((await desk.show(two.web1, two.bundle(two.first))).ok, true);
});

test('what cannot be done is refused with its code, and changes nothing', async () => {
  const desk = new Desk();
  const deployment = new Shop('one').deployment;
  const rows = [
    ['NAME_FREE', { name: 'nobody', action: 'release' }],
    ['NAME_FREE', { name: 'nobody', action: 'transfer', deployment }],
    ['REQUEST_INVALID', { name: '..', action: 'release' }],
    ['REQUEST_INVALID', { name: 'shop', action: 'allow' }],
    ['REQUEST_INVALID', { name: 'shop', action: 'transfer', deployment: 'shop' }],
    ['REQUEST_INVALID', { name: 'www.shop.example', action: 'transfer', deployment }],
  ] as const;
  for (const [code, request] of rows) assert.throws(() => operator(desk)(request), { code });
  assert.deepEqual(desk.store.nameGrants(), []);
});
