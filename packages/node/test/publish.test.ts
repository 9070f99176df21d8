import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PublicationStatus } from '@moat/admin-api';
import type { Contract } from '@moat/contract';
import { createConsoleLogger } from './console-logger.ts';
import { FakeGateway } from './fake-gateway.ts';
import { Agent, Owner, startEcho, until } from './world.ts';

const SALT = 'AAAAAAAAAAAAAAAAAAAAAA';

async function publication(agent: Agent): Promise<PublicationStatus | undefined> {
  return (await agent.client.publications())[0];
}

function lineAt(gateway: FakeGateway, name = 'shop'): Contract['publish'] {
  const pin = { domain: 'localhost', peers: [gateway.address] };
  return [{ name, salt: SALT, service: 'web', tls: 'terminate', gateway: pin }];
}

test('a publication goes live, follows versions, survives both sides restarting, and is withdrawn', async () => {
  await using echo = await startEcho();
  let gateway = await FakeGateway.start();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => gateway[Symbol.asyncDispose]());
  await using one = await Agent.start({ logger: createConsoleLogger('one') });
  const owner = new Owner(one);
  const id = owner.deployment;
  const peer = await one.peerId();
  await owner.apply({
    members: [await owner.pinned('home', 2, one, { keeper: true })],
    services: [
      { name: 'web', on: ['home'], port: 80, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' },
      { name: 'db', on: ['home'], port: 5432, target: `127.0.0.1:${echo.port}`, protocol: 'tcp' },
    ],
    publish: lineAt(gateway),
  });
  const events: string[] = [];
  const stop = new AbortController();
  const follow = (async () => {
    for await (const event of one.client.events(stop.signal)) {
      if (event.kind === 'publication') events.push(event.publication.state);
    }
  })();
  const live = await until('live', async () => {
    const status = await publication(one);
    return status?.state === 'live' && status;
  });
  assert.deepEqual([live.host, live.url, live.version], ['shop.localhost', 'https://shop.localhost/', 0]);
  await until('the event', async () => events.includes('live'));
  stop.abort();
  await follow;

  // Consent: without --public nothing from a gateway is let in, and never to another service.
  assert.equal(await gateway.open(peer, id, 'web'), 'NOT_PUBLIC');
  await one.client.expose({ deployment: id, target: String(echo.port) });
  assert.equal(await gateway.open(peer, id, 'web'), 'NOT_PUBLIC');
  await one.client.expose({ deployment: id, target: String(echo.port), public: true });
  assert.equal(await gateway.open(peer, id, 'web'), 'connected');
  assert.equal(await gateway.open(peer, id, 'db'), 'NOT_PUBLISHED');
  assert.equal(await gateway.open(peer, 'a'.repeat(26), 'web'), 'GRANT_DENIED');

  await owner.apply({ publish: lineAt(gateway, 'store') });
  await until('the new name', async () => {
    const status = await publication(one);
    return status?.name === 'store' && status.state === 'live' && status.version === 1;
  });

  // The gateway goes away and comes back at the same place.
  const { key, port } = gateway;
  await gateway[Symbol.asyncDispose]();
  await until('not live', async () => (await publication(one))?.state !== 'live');
  gateway = await FakeGateway.start(key, port);
  await until('live again', async () => (await publication(one))?.state === 'live');
  assert.equal(gateway.shown.length, 1);

  await one.stop();
  await one.start();
  await until('live after our restart', async () => (await publication(one))?.state === 'live');

  await owner.apply({ publish: [] });
  const last = await until('the withdrawal', async () => {
    const shown = gateway.shown.at(-1);
    return shown?.bundle.publications.length === 0 && shown;
  });
  assert.equal(last.bundle.proof.newest.head.version, 2);
  assert.deepEqual(await one.client.publications(), []);
});

test('a withdrawal that the gateway missed reaches it after a restart', async () => {
  const gateway = await FakeGateway.start();
  await using one = await Agent.start();
  const owner = new Owner(one);
  await owner.apply({
    members: [await owner.pinned('home', 2, one, { keeper: true })],
    services: [{ name: 'web', on: ['home'], port: 80, target: '127.0.0.1:3000', protocol: 'tcp' }],
    publish: lineAt(gateway),
  });
  await until('live', async () => (await publication(one))?.state === 'live');
  const { key, port } = gateway;
  await gateway[Symbol.asyncDispose]();
  await owner.apply({ publish: [] });
  await one.stop();
  await using back = await FakeGateway.start(key, port);
  await one.start();
  const shown = await until('the withdrawal', async () => back.shown[0]);
  assert.deepEqual(shown.bundle.publications, []);
  assert.equal(shown.bundle.proof.newest.head.version, 1);
});

test('a refused name says why; a member that does not offer the service waits', async () => {
  await using gateway = await FakeGateway.start();
  gateway.held.add('shop');
  await using one = await Agent.start();
  await using two = await Agent.start();
  const owner = new Owner(one);
  const place = owner.invited('web-1', 3);
  await owner.apply({
    members: [await owner.pinned('home', 2, one, { keeper: true }), place.member],
    services: [{ name: 'web', on: ['web-1'], port: 80, target: '127.0.0.1:3000', protocol: 'tcp' }],
    publish: lineAt(gateway),
  });
  assert.equal((await publication(one))?.state, 'waiting');
  await two.client.join({ token: await place.token() });
  const refused = await until('refused', async () => {
    const status = await publication(two);
    return status?.state === 'refused' && status;
  });
  assert.deepEqual(refused.error, { code: 'NAME_HELD', message: 'held by another' });
  // The place is held by claim: the bundle proves it, without the claim's details.
  const claims = gateway.shown.at(-1)?.bundle.claims ?? [];
  assert.deepEqual(
    claims.map(({ claim }) => claim.node),
    [await two.peerId()],
  );
  assert.ok(!('details' in (claims[0] ?? {})));
  gateway.held.clear();
  await until('live once the name is free', async () => (await publication(two))?.state === 'live');
});
