import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseToken, encodeToken } from '@moat/contract';
import { createConsoleLogger } from './console-logger.ts';
import { Agent, Owner, exchange, listenerOf, startEcho, until } from './world.ts';

test('two machines that accept no inbound connection meet through an anchor', async () => {
  await using echo = await startEcho();
  await using anchor = await Agent.start({ flags: { anchor: true } });
  await using one = await Agent.start({ flags: { inbound: false }, logger: createConsoleLogger('one') });
  await using two = await Agent.start({ flags: { inbound: false }, logger: createConsoleLogger('two') });
  assert.equal((await one.client.status()).linkPort, null);
  const [address = ''] = (await anchor.client.status()).addresses;
  const owner = new Owner(one);
  const place = owner.invited('web-1', 3);
  await owner.apply({
    anchors: [address],
    members: [await owner.pinned('db-1', 2, one, { keeper: true }), place.member],
    services: [{ name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
    access: [{ from: ['web-1'], to: ['db'] }],
  });
  await one.client.expose({ deployment: 'shop', target: String(echo.port) });
  await until('a reservation at the anchor', async () => {
    return (await one.client.deployment('shop')).keepers.some((keeper) => keeper.includes('/p2p-circuit/'));
  });
  const token = encodeToken({ ...parseToken(await place.token()), anchors: [address] });
  await two.client.join({ token });
  assert.equal(await exchange(await listenerOf(two, 'shop', 'db'), 'through the anchor'), 'through the anchor');
  const ping = await two.client.ping('shop', { target: 'db' });
  assert.equal(ping.path, 'spliced');
  const explained = await two.client.explain('shop', 'web-1', 'db');
  assert.equal(explained.path, 'spliced');
  assert.match(explained.pathReason, /an anchor/);
});
