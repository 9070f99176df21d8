/** A whole gateway: real overlay, real links, real sockets, members that dial in. */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { once } from 'node:events';
import { test } from 'node:test';
import { createGatewayClient } from '@moat/admin-api';
import { silentLogger, type StreamAcceptor } from '@moat/core';
import type { GatewayAddresses } from '../src/addresses.ts';
import { runGateway } from '../src/main.ts';
import { answering, resetting } from './member.ts';
import { Shop } from './shop.ts';
import { Node, gatewayPeer, get, home, started } from './whole-gateway.ts';

test('a member publishes, the public comes in, a restart keeps the name', async () => {
  await using place = await home();
  const { config } = place;
  await using node = new Node(answering('hello'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  {
    await using gateway = await started(config);
    const { addresses } = gateway;
    await assert.rejects(get(addresses, 'shop.localhost'));
    const answer = await node.show(addresses, shop.bundle(shop.first));
    assert.deepEqual(answer, {
      ok: true,
      names: [{ name: 'shop', host: 'shop.localhost', url: `https://shop.localhost:${addresses.httpsPort}` }],
      refused: [],
    });
    assert.deepEqual(await get(addresses, 'shop.localhost'), { status: 200, text: 'hello' });
    assert.deepEqual(JSON.parse((await get(addresses, 'localhost', '/.well-known/moat')).text), {
      domain: 'localhost',
      peers: addresses.peers,
      box: addresses.box,
    });
    const client = createGatewayClient({ socketPath: addresses.adminSocket });
    assert.equal((await stat(addresses.adminSocket)).mode & 0o777, 0o600);
    const status = await client.status();
    assert.deepEqual([status.links, status.names, status.domain, status.publishers], [1, 1, 'localhost', 'open']);
    const [name] = (await client.names()).names;
    assert.deepEqual(
      [name?.host, name?.state, name?.service, name?.deployment],
      ['shop.localhost', 'live', 'web', shop.deployment],
    );
    const [route] = (await client.routes()).routes;
    assert.deepEqual(
      route?.upstreams.map(({ peer, path }) => [peer, path]),
      [[node.key.peerId, 'direct']],
    );
    // A second gateway on the same state is refused before it touches anything public.
    await assert.rejects(started(config), { code: 'STATE_LOCKED' });
  }
  await using again = await started(config);
  assert.equal((await get(again.addresses, 'shop.localhost')).status, 503);
  assert.equal((await node.show(again.addresses, shop.bundle(shop.first))).ok, true);
  assert.deepEqual(await get(again.addresses, 'shop.localhost'), { status: 200, text: 'hello' });
  const gone = shop.publishing(shop.first, []);
  assert.equal((await node.show(again.addresses, shop.bundle(gone))).ok, true);
  assert.equal((await get(again.addresses, 'shop.localhost')).status, 404);
});

test('a peer that proves nothing gets no link, and no stream is ever opened to it', async () => {
  await using place = await home();
  let opened = 0;
  const counting: StreamAcceptor = (stream) => {
    opened += 1;
    resetting('GRANT_DENIED')(stream);
  };
  await using thief = new Node(counting);
  await using node = new Node(counting);
  await Promise.all([thief.start(), node.start()]);
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(place.config) });
  await using gateway = await started(place.config);
  const { addresses } = gateway;
  const answer = await thief.show(addresses, shop.bundle(shop.first));
  assert.deepEqual([answer.ok, answer.ok ? '' : answer.code], [false, 'PUBLISHER_UNKNOWN']);
  const peer = addresses.peers[0]?.split('/p2p/')[1] ?? '';
  await assert.rejects(thief.links.connect(peer, AbortSignal.timeout(5_000)));
  await node.show(addresses, shop.bundle(shop.first));
  // A gateway serves nobody's services: a stream towards it is refused.
  const link = await node.links.connect(peer, AbortSignal.timeout(5_000));
  const refused = Promise.withResolvers<string | undefined>();
  link.open({ deployment: shop.deployment, service: 'web', kind: 'tcp' }).listen({
    onHead: () => undefined,
    onData: () => undefined,
    onEnd: () => undefined,
    onDrain: () => undefined,
    onClose: refused.resolve,
  });
  assert.equal(await refused.promise, 'SERVICE_UNKNOWN');
  assert.equal(opened, 0);
  const answered = await get(addresses, 'shop.localhost');
  assert.equal(answered.status, 502);
  assert.match(answered.text, /MEMBER_REFUSED/);
  assert.equal(opened, 1);
});

test('whom a newer version drops loses its link and its connection, whoever brought the version', async () => {
  await using place = await home();
  const { config } = place;
  await using dropped = new Node(answering('hello'));
  await using staying = new Node(answering('hello'));
  await Promise.all([dropped.start(), staying.start()]);
  const shop = new Shop('one', { web1: staying.identity, gateway: await gatewayPeer(config) });
  const [web1] = shop.first.contract.members;
  assert.ok(web1);
  const both = shop.next(shop.first, {
    members: [web1, { ...web1, name: 'web-2', node: dropped.key.peerId, ipv4: '10.77.0.3' }],
  });
  await using gateway = await started(config);
  const { addresses } = gateway;
  const peer = await gatewayPeer(config);
  for (const node of [staying, dropped]) assert.equal((await node.show(addresses, shop.bundle(both))).ok, true);
  const link = await dropped.links.connect(peer, AbortSignal.timeout(5_000));
  const [connection] = dropped.overlay.connections(peer);
  assert.ok(connection);
  const gone = Promise.all([once(link.closed, 'abort'), once(connection.closed, 'abort')]);
  assert.equal((await staying.show(addresses, shop.bundle(shop.next(both, { members: [web1] })))).ok, true);
  await gone;
  assert.equal(staying.overlay.connections(peer).length > 0, true);
  assert.equal((await get(addresses, 'shop.localhost')).text, 'hello');
});

test('running until told to stop: ready once, stopped by the socket, nothing left', async () => {
  await using place = await home();
  const never = new AbortController();
  const ready = Promise.withResolvers<GatewayAddresses>();
  const running = runGateway(place.config, { signal: never.signal, logger: silentLogger, onReady: ready.resolve });
  const addresses = await ready.promise;
  await createGatewayClient({ socketPath: addresses.adminSocket }).stop({});
  await running;
  await assert.rejects(get(addresses, 'localhost', '/.well-known/moat'));
  const stopped = new AbortController();
  stopped.abort();
  await assert.rejects(runGateway(place.config, { signal: stopped.signal, logger: silentLogger }));
});

test('a port that is taken is named, and everything opened before is closed again', async () => {
  await using place = await home();
  await using gateway = await started(place.config);
  await using other = await home();
  const { config } = other;
  const taken = {
    ...config,
    listen: { ...config.listen, https: { host: '127.0.0.1', port: gateway.addresses.httpsPort } },
  };
  await assert.rejects(started(taken), { code: 'LISTEN_FAILED' });
  await using second = await started(config);
  assert.equal(second.addresses.domain, 'localhost');
});
