/** Names that are passed through and ports: what is claimed, what is served, and who holds a port. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '@moat/contract';
import { suspend } from '../../src/admin/decide.ts';
import { portKey } from '../../src/names/port.ts';
import { Desk, refused } from '../desk.ts';
import { Shop, type ShopVersion } from '../shop.ts';

const RANGES = [{ from: 15_000, to: 15_999 }];
const DB: Service = { name: 'db', on: ['tag:web'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' };
const DAY_MS = 24 * 3_600_000;

function withPort(shop: Shop, name: string, port: number): ShopVersion {
  return shop.next(shop.first, {
    services: [...shop.first.contract.services, DB],
    publish: [shop.line(name, { service: 'db', tls: 'passthrough', port })],
  });
}

test('how bytes come to a service follows from its line', async () => {
  const desk = new Desk({ tcpPorts: RANGES });
  const shop = new Shop('one');
  const version = shop.next(shop.first, {
    services: [...shop.first.contract.services, DB],
    publish: [
      shop.line('web'),
      shop.line('through', { tls: 'passthrough' }),
      shop.line('ended', { service: 'db' }),
      shop.line('raw', { service: 'db', tls: 'passthrough', port: 15_432 }),
    ],
  });
  assert.ok((await desk.show(shop.web1, shop.bundle(version))).ok);
  assert.deepEqual(Object.fromEntries(desk.routes.list().map(({ host, opaque, port }) => [host, [opaque, port]])), {
    'web.localhost': [undefined, undefined],
    'through.localhost': ['passthrough', undefined],
    'ended.localhost': ['terminated', undefined],
    'raw.localhost': ['port', 15_432],
    'tcp:15432': ['port', 15_432],
  });
  assert.deepEqual([...desk.routes.ports()], [15_432]);
  assert.deepEqual(
    ['web', 'through', 'ended', 'raw'].map((name) => desk.routes.endsTls(`${name}.localhost`)),
    [true, false, true, false],
  );
  const without = shop.next(version, { publish: [shop.line('web')] });
  assert.ok((await desk.show(shop.web1, shop.bundle(without))).ok);
  assert.deepEqual([...desk.routes.ports()], []);
});

test('ports outside the range are refused, and their names with them', async () => {
  const desk = new Desk({ tcpPorts: RANGES });
  const shop = new Shop('one');
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(withPort(shop, 'a', 16_000)))), 'PORT_NOT_ALLOWED');
  assert.equal(desk.registry.get('a.localhost'), undefined);
  const closed = new Desk();
  assert.equal(refused(await closed.show(shop.web1, shop.bundle(withPort(shop, 'a', 15_000)))), 'PORT_NOT_ALLOWED');
});

test('the first who claims a port holds it, for as long as a name', async () => {
  const desk = new Desk({ tcpPorts: RANGES });
  const [one, two] = [new Shop('one'), new Shop('two')];
  const first = withPort(one, 'a', 15_000);
  assert.ok((await desk.show(one.web1, one.bundle(first))).ok);
  assert.equal(desk.registry.get(portKey(15_000))?.deployment, one.deployment);
  assert.equal(refused(await desk.show(two.web1, two.bundle(withPort(two, 'b', 15_000)))), 'PORT_HELD');
  // Unpublished, it stays theirs until the lease is over.
  assert.ok((await desk.show(one.web1, one.bundle(one.next(first, { publish: [one.line('web')] })))).ok);
  assert.equal(refused(await desk.show(two.web1, two.bundle(withPort(two, 'b', 15_000)))), 'PORT_HELD');
  desk.clock.advance(DAY_MS + 1);
  desk.intake.sweep();
  assert.equal(desk.registry.get(portKey(15_000)), undefined);
  assert.ok((await desk.show(two.web1, two.bundle(withPort(two, 'b', 15_000)))).ok);
});

test('a port counts as a name', async () => {
  const desk = new Desk({ tcpPorts: RANGES, limits: { namesPerDeployment: 1 } });
  const shop = new Shop('one');
  assert.equal(refused(await desk.show(shop.web1, shop.bundle(withPort(shop, 'a', 15_000)))), 'NAME_LIMIT');
});

test('a suspended name takes its port off the air with it', async () => {
  const desk = new Desk({ tcpPorts: RANGES });
  const shop = new Shop('one');
  assert.ok((await desk.show(shop.web1, shop.bundle(withPort(shop, 'raw', 15_432)))).ok);
  suspend({ domain: 'localhost' }, desk.suspensions, desk.intake, { subject: 'raw', status: 451 });
  assert.deepEqual(
    desk.routes.list().map(({ host, suspended }) => [host, suspended]),
    [
      ['raw.localhost', 451],
      ['tcp:15432', 451],
    ],
  );
  assert.deepEqual(desk.withdrawn, ['raw.localhost', 'tcp:15432'], 'what runs on it ends');
});
