/** Names that nobody gets without the operator's word. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RESERVED, reservedLabels } from '../../src/names/reserved.ts';
import { Desk } from '../desk.ts';
import { Shop } from '../shop.ts';

test('reserved names, what looks like them, and what looks like another deployment’s name are refused', async () => {
  const desk = new Desk({ reserved: ['admin', 'mail'] });
  const one = new Shop('one', { publish: ['paypal', 'modern'] });
  await desk.show(one.web1, one.bundle(one.first));
  const wanted = ['admin', 'adm1n', 'paypa1', 'rnodern', 'shop', 'shop1', 'xn--a', 'xn--pypal-4ve', 'xn--80a0b7ac'];
  const two = new Shop('two', { publish: wanted });
  const answer = await desk.show(two.web1, two.bundle(two.first));
  assert.ok(answer.ok);
  assert.deepEqual(
    answer.names.map(({ name }) => name),
    ['shop', 'shop1', 'xn--80a0b7ac'],
  );
  assert.deepEqual(Object.fromEntries(answer.refused.map(({ name, code }) => [name, code])), {
    admin: 'NAME_RESERVED',
    adm1n: 'NAME_RESERVED',
    paypa1: 'NAME_LOOKALIKE',
    rnodern: 'NAME_LOOKALIKE',
    'xn--a': 'NAME_INVALID',
    'xn--pypal-4ve': 'NAME_LOOKALIKE',
  });
  const line = `moat gateway names allow admin.localhost --to ${two.deployment}`;
  assert.ok(answer.refused.find(({ name }) => name === 'admin')?.message.includes(line));
});

test('one’s own names may look alike, and a name that is free again blocks nobody', async () => {
  const desk = new Desk();
  const one = new Shop('one', { publish: ['web1', 'webl'] });
  assert.equal((await desk.show(one.web1, one.bundle(one.first))).ok, true);
  assert.deepEqual(desk.hosts().length, 2);
  const names = desk.registry.list();
  desk.intake.changeNames({ released: names, audit: [] });
  const two = new Shop('two', { publish: ['webi'] });
  assert.equal((await desk.show(two.web1, two.bundle(two.first))).ok, true);
});

test('the gateway’s own name servers are reserved too', () => {
  const dns = { server: { ns: ['ns7.apps.example.com', 'ns.elsewhere.example'] } };
  const labels = reservedLabels({ domain: 'apps.example.com', reservedNames: ['x'], dns });
  assert.deepEqual(labels, ['x', 'ns7']);
  assert.ok(RESERVED.includes('www') && RESERVED.includes('autodiscover'));
});
