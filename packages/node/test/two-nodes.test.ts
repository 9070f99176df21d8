import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent, Owner, exchange, listenerOf, startEcho } from './world.ts';
import { createConsoleLogger } from './console-logger.ts';

test('two nodes join by token and reach each other', async () => {
  await using echo = await startEcho();
  await using one = await Agent.start({ logger: createConsoleLogger('one') });
  await using two = await Agent.start({ logger: createConsoleLogger('two') });
  const owner = new Owner(one);
  const place = owner.invited('web-1', 3);
  await owner.apply({
    members: [await owner.pinned('db-1', 2, one, { keeper: true }), place.member],
    services: [{ name: 'db', on: ['db-1'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' }],
    access: [{ from: ['web-1'], to: ['db'] }],
  });
  await one.client.expose({ deployment: 'shop', target: String(echo.port) });
  const joined = await two.client.join({ token: await place.token() });
  assert.equal(joined.member, 'web-1');
  const listener = await listenerOf(two, 'shop', 'db');
  assert.equal(await exchange(listener, 'hello'), 'hello');
});
