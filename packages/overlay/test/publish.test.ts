import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError, isMoatError, type PeerConnection } from '@moat/core';
import type { PublicationBundle } from '@moat/contract';
import { createManualClock, freePort } from '@moat/testkit';
import { Deployment, introduce, soon, started, until } from './world.fixture.ts';

test('an accepted publication admits the connection on both sides', async () => {
  await using gateway = await started();
  await using web = await started();
  const shop = new Deployment();
  const bundle: PublicationBundle = { proof: shop.version({ 'web!': web.peer }).proof, publications: [], claims: [] };
  const seen: PublicationBundle[] = [];
  gateway.overlay.servePublish((_peer, _connection, shown) => {
    seen.push(shown);
    return Promise.resolve({
      ok: true,
      names: [{ name: 'shop', host: 'shop.localhost', url: 'https://shop.localhost' }],
      refused: [],
    });
  });
  const admitted: PeerConnection[] = [];
  gateway.overlay.onAdmitted((connection) => admitted.push(connection));
  // what the gateway opens as soon as it admits us waits for the answer, it is not refused
  const tickets = Promise.withResolvers<string>();
  web.overlay.handle(
    '/moat/ticket/1',
    async (stream) => tickets.resolve(Buffer.from(await stream.read(soon())).toString()),
    { audience: 'admitted' },
  );
  gateway.overlay.onAdmitted((connection) => {
    void gateway.overlay
      .open(connection, '/moat/ticket/1', soon())
      .then((stream) => stream.write(Buffer.from('ticket'), soon()));
  });
  const connection = await web.overlay.dial(gateway.overlay.addresses(), soon());
  assert.equal(web.overlay.connections().length, 0);
  const answer = await web.overlay.publish(connection, bundle, soon());
  assert.ok(answer.ok);
  assert.deepEqual(seen, [bundle]);
  assert.equal(web.overlay.connections(gateway.peer).length, 1);
  assert.equal(admitted.length, 1);
  assert.equal(await tickets.promise, 'ticket');
});

test('a refused one does not, and the connection ends with its probation', async () => {
  const clock = createManualClock(Date.now());
  await using gateway = await started({ clock, limits: { probationMs: 5000 } });
  await using web = await started();
  const shop = new Deployment();
  gateway.overlay.servePublish(() => Promise.reject(new MoatError('NAME_HELD', 'taken')));
  const connection = await web.overlay.dial(gateway.overlay.addresses(), soon());
  const bundle: PublicationBundle = { proof: shop.version({ 'web!': web.peer }).proof, publications: [], claims: [] };
  assert.deepEqual(await web.overlay.publish(connection, bundle, soon()), {
    ok: false,
    code: 'NAME_HELD',
    message: 'taken',
  });
  await until(() => {
    clock.advance(1000);
    return connection.closed.aborted;
  }, 'closed');
});

test('a kept gateway is dialed again for ever, and each connection is told', async () => {
  await using web = await started();
  const first = await started({ listen: [`/ip4/127.0.0.1/tcp/${await freePort()}`] });
  const [address = ''] = first.overlay.addresses();
  const connections: PeerConnection[] = [];
  const release = web.overlay.keep({
    peer: first.peer,
    addresses: [address],
    onConnection: (connection) => connections.push(connection),
  });
  await until(() => connections.length === 1, 'first connection');
  await first.overlay.stop();
  await until(() => connections[0]?.closed.aborted === true, 'lost');
  const port = /\/tcp\/(\d+)/.exec(address)?.[1] ?? '';
  await using again = await started({ key: first.key, listen: [`/ip4/127.0.0.1/tcp/${port}`] });
  await until(() => connections.length === 2, 'second connection');
  assert.equal(again.peer, first.peer);
  release();
});

test('publish at a machine that is no gateway is unsupported', async () => {
  await using bob = await started();
  await using web = await started();
  const shop = new Deployment();
  introduce(shop.version({ 'web!': web.peer, bob: bob.peer }), web, bob);
  const connection = await web.overlay.connect(bob.peer, soon());
  const bundle: PublicationBundle = {
    proof: shop.newest?.proof as PublicationBundle['proof'],
    publications: [],
    claims: [],
  };
  await assert.rejects(web.overlay.publish(connection, bundle, soon()), (error) =>
    isMoatError(error, 'PROTOCOL_UNSUPPORTED'),
  );
});

const NAMED = [{ name: 'shop', host: 'shop.localhost', url: 'https://shop.localhost' }];

test('who serves nothing any more is on probation again, on both sides, whatever else it publishes stays', async () => {
  const clock = createManualClock(Date.now());
  await using gateway = await started({ clock, limits: { probationMs: 5000 } });
  await using web = await started({ clock, limits: { probationMs: 5000 } });
  const names = [...NAMED];
  gateway.overlay.servePublish(() => Promise.resolve({ ok: true, names: [...names], refused: [] }));
  const bundleOf = (shop: Deployment): PublicationBundle => ({
    proof: shop.version({ 'web!': web.peer }).proof,
    publications: [],
    claims: [],
  });
  const [shop, blog] = [new Deployment(), new Deployment()];
  const connection = await web.overlay.dial(gateway.overlay.addresses(), soon());
  await web.overlay.publish(connection, bundleOf(shop), soon());
  await web.overlay.publish(connection, bundleOf(blog), soon());
  names.length = 0;
  await web.overlay.publish(connection, bundleOf(blog), soon());
  assert.equal(web.overlay.connections(gateway.peer).length, 1);
  assert.equal(gateway.overlay.connections(web.peer).length, 1);
  await web.overlay.publish(connection, bundleOf(shop), soon());
  assert.equal(web.overlay.connections(gateway.peer).length, 0);
  await until(() => gateway.overlay.connections(web.peer).length === 0, 'not admitted');
  await until(() => {
    clock.advance(1000);
    return connection.closed.aborted;
  }, 'closed');
});

test('a code is handed in for a deployment, and admits nobody', async () => {
  await using gateway = await started();
  await using web = await started();
  const redeemed: unknown[] = [];
  gateway.overlay.servePublish(
    () => Promise.reject(new Error('never')),
    (peer, _connection, redemption) => {
      redeemed.push({ peer, ...redemption });
      return Promise.resolve({ ok: true, names: [], refused: [] });
    },
  );
  const { id } = new Deployment();
  const connection = await web.overlay.dial(gateway.overlay.addresses(), soon());
  const answer = await web.overlay.redeem(connection, { deployment: id, code: 'a code' }, soon());
  assert.equal(answer.ok, true);
  assert.deepEqual(redeemed, [{ peer: web.peer, deployment: id, code: 'a code' }]);
  assert.equal(gateway.overlay.connections(web.peer).length, 0);
  const strange = await web.overlay.redeem(connection, { deployment: 'shop', code: 'a code' }, soon());
  assert.equal(strange.ok || strange.code, 'MESSAGE_INVALID');
});

test('a member asks what became of certificates; a gateway that does not know the question says so', async () => {
  await using gateway = await started();
  await using older = await started();
  await using web = await started();
  const state = { state: 'waiting', issuer: null, notAfter: null, next: null } as const;
  const problem = { code: 'ACME_UNREACHABLE', message: 'nobody answers' };
  gateway.overlay.servePublish(
    () => Promise.reject(new Error('never')),
    undefined,
    (peer, deployment) => [{ host: `${deployment}.${peer === web.peer ? 'ours' : 'theirs'}`, ...state, problem }],
  );
  older.overlay.servePublish(() => Promise.reject(new Error('never')));
  const { id } = new Deployment();
  const ask = async ({ overlay }: typeof gateway): Promise<unknown> =>
    web.overlay.certificates(await web.overlay.dial(overlay.addresses(), soon()), id, soon());
  const certificates = [{ host: `${id}.ours`, ...state, problem }];
  assert.deepEqual(await ask(gateway), { ok: true, names: [], refused: [], certificates });
  assert.equal(gateway.overlay.connections(web.peer).length, 0, 'nobody is admitted by it');
  assert.deepEqual(await ask(older), { ok: true, names: [], refused: [], certificates: [] });
});
