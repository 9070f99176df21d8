/** What the operator takes off the air: at once, kept, told to whom it concerns, and taken back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resume, suspend } from '../../src/admin/decide.ts';
import { parseLine } from '../../src/audit/check.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { Desk, refused } from '../desk.ts';
import { Shop } from '../shop.ts';

const DOMAIN = { domain: 'localhost' };
const LEGAL = { status: 451 as const, note: 'court order 7' };

test('a suspended name is answered for, not led on; its members hear why and stay', async () => {
  const store = openSqliteStore(':memory:');
  const desk = new Desk({ store });
  const shop = new Shop('one', { publish: ['shop', 'other'] });
  await desk.show(shop.web1, shop.bundle(shop.first));
  suspend(DOMAIN, desk.suspensions, desk.intake, { subject: 'shop', ...LEGAL });
  assert.equal(desk.routes.current.find('shop.localhost')?.suspended, 451);
  assert.equal(desk.routes.current.find('other.localhost')?.suspended, undefined);
  assert.deepEqual(desk.withdrawn, ['shop.localhost'], 'what runs under it ends');
  assert.deepEqual(desk.dropped, []);
  assert.deepEqual(desk.news, [shop.web1.peer]);
  const answer = await desk.show(shop.web1, shop.bundle(shop.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.refused.map(({ name, code }) => [name, code]),
    [['shop', 'NAME_SUSPENDED']],
  );
  assert.match(answer.refused[0]?.message ?? '', /suspended shop\.localhost: court order 7/);
  // A second time changes the note, and ends nothing anew.
  suspend(DOMAIN, desk.suspensions, desk.intake, { subject: 'shop.localhost', status: 410 });
  assert.equal(desk.withdrawn.length, 1);
  const after = new Desk({ store });
  assert.equal(after.routes.current.find('shop.localhost')?.suspended, 410);
  assert.deepEqual(resume(DOMAIN, after.suspensions, after.intake, { subject: 'shop' }), {
    subject: 'shop.localhost',
    changed: true,
  });
  assert.equal(after.routes.current.find('shop.localhost')?.suspended, undefined);
  assert.equal(resume(DOMAIN, after.suspensions, after.intake, { subject: 'shop' }).changed, false);
  const again = await after.show(shop.web1, shop.bundle(shop.first));
  assert.deepEqual(again.ok && again.refused, []);
  const actions = store.audit.read(0, 0, 100).map((text) => parseLine(text)?.action);
  assert.deepEqual(actions, [
    'audit.begun',
    'name.claimed',
    'name.claimed',
    'name.suspended',
    'name.suspended',
    'name.resumed',
  ]);
});

test('a suspended deployment is off the air whole, and gets no new name', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  suspend(DOMAIN, desk.suspensions, desk.intake, { subject: shop.deployment, status: 410 });
  assert.equal(desk.routes.current.find('shop.localhost')?.suspended, 410);
  const more = shop.publishing(shop.first, ['shop', 'second']);
  const answer = await desk.show(shop.web1, shop.bundle(more));
  assert.ok(answer.ok);
  assert.deepEqual(
    [answer.names.map(({ name }) => name), answer.refused.map(({ name }) => name)],
    [['shop'], ['shop', 'second']],
  );
  assert.equal(desk.registry.get('second.localhost'), undefined);
});

test('a name can be suspended before anybody has it; nobody gets it then', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  suspend(DOMAIN, desk.suspensions, desk.intake, { subject: 'shop', status: 451 });
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'NAME_SUSPENDED');
  assert.equal(desk.registry.list().length, 0);
});

test('what is neither a name nor an id is refused', () => {
  const desk = new Desk();
  for (const subject of ['a b', '-', 'x_y', '.']) {
    assert.throws(() => suspend(DOMAIN, desk.suspensions, desk.intake, { subject, status: 451 }), {
      code: 'REQUEST_INVALID',
    });
  }
});
