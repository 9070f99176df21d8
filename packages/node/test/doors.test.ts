/** What an agent opens for the programs of its machine. */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createProxy } from '@moat/network';
import { LocalDoors } from '../src/doors.ts';
import { loadNodeConfig } from '../src/index.ts';
import { Agent, Owner, startEcho } from './world.ts';

test('names of granted services are answered, and change with the contract', async () => {
  await using stack = new AsyncDisposableStack();
  const echo = stack.use(await startEcho());
  const one = stack.use(await Agent.start());
  const owner = new Owner(one);
  const services = [
    { name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' as const },
  ];
  const members = [await owner.pinned('db-1', 2, one, { keeper: true })];
  await owner.apply({ members, services, access: [{ from: ['db-1'], to: ['db'] }] });
  const { dns } = await one.client.status();
  assert.ok(dns !== null);
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  resolver.setServers([`${dns.host}:${dns.port}`]);
  const { hosts } = await one.client.hosts('shop');
  assert.deepEqual(await resolver.resolve4('db.shop.internal'), [hosts[0]?.address]);
  const [srv] = await resolver.resolveSrv('_db._tcp.shop.internal');
  assert.deepEqual([srv?.name, srv?.port], ['db.shop.internal', 5432]);
  await assert.rejects(one.client.expose({ deployment: 'shop', target: `${dns.host}:${dns.port}` }), {
    code: 'TARGET_OWN',
  });
  await owner.apply({ members, services, access: [] });
  await assert.rejects(resolver.resolve4('db.shop.internal'), { code: 'ENOTFOUND' });

  await one.stop();
  await one.start();
  assert.deepEqual((await one.client.status()).dns, dns);
  await one.stop();
  await one.start({ dns: false });
  assert.equal((await one.client.status()).dns, null);
});

test('a proxy port that was asked for is that one or none; the default may be another', async () => {
  await using taken = await createProxy({ resolve: () => undefined }, { port: 0 });
  const config = await loadNodeConfig({ env: {}, files: [], flags: { socksPort: taken.port, dns: false } });
  const deps = { self: 'self', networks: () => [], onAsked: () => undefined, logger: silentLogger };
  assert.equal(config.socksPortChosen, true);
  await assert.rejects(new LocalDoors(config, deps).start(), (error: Error & { code: string; reason: string }) => {
    return error.code === 'LISTEN_FAILED' && error.reason.includes('EADDRINUSE');
  });
  const byDefault = new LocalDoors({ ...config, socksPortChosen: false }, deps);
  await byDefault.start();
  assert.notEqual(byDefault.proxy()?.port, taken.port);
  await byDefault.stop();
});
