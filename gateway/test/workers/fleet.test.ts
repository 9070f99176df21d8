/** A gateway whose traffic runs in workers: real processes, sockets that are passed to them, links that are piped. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createGatewayClient, type GatewayWorker } from '@moat/admin-api';
import type { GatewayAddresses } from '../../src/addresses.ts';
import { canShareListeners } from '../../src/workers/shares.ts';
import { answering } from '../member.ts';
import { Shop } from '../shop.ts';
import { Node, gatewayPeer, get, home, started } from '../whole-gateway.ts';

const skip = canShareListeners() ? false : 'this system cannot share a port among processes';

/** The workers, once `holds` does. */
async function workersWhen(
  { adminSocket }: GatewayAddresses,
  holds: (workers: readonly GatewayWorker[]) => boolean,
): Promise<readonly GatewayWorker[]> {
  const client = createGatewayClient({ socketPath: adminSocket });
  for (const until = Date.now() + 20_000; Date.now() < until;) {
    const { workers } = await client.status();
    if (holds(workers)) return workers;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return assert.fail('the workers did not get there');
}

test('workers serve what a member publishes, and forget it when it is dropped', { skip }, async () => {
  await using place = await home('workers: 2\n');
  const { config } = place;
  await using node = new Node(answering('hello'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  await using gateway = await started(config);
  const { addresses } = gateway;
  await assert.rejects(get(addresses, 'shop.localhost'));
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  await workersWhen(addresses, (workers) => workers.every(({ links }) => links === 1));
  const answers = await Promise.all(Array.from({ length: 16 }, () => get(addresses, 'shop.localhost')));
  assert.deepEqual(new Set(answers.map(({ text }) => text)), new Set(['hello']));
  const { status, text } = await get(addresses, 'localhost', '/.well-known/moat');
  assert.equal(status, 200);
  assert.deepEqual(JSON.parse(text), { domain: 'localhost', peers: addresses.peers, box: addresses.box });
  // Whoever shows that nothing is published any more is told so when no worker serves it any more.
  const [link] = node.links.list();
  const gone = once(link?.closed ?? assert.fail('no link'), 'abort');
  assert.equal((await node.show(addresses, shop.bundle(shop.publishing(shop.first, [])))).ok, true);
  const after = await Promise.all(Array.from({ length: 16 }, () => get(addresses, 'shop.localhost')));
  assert.deepEqual(new Set(after.map((answer) => answer.status)), new Set([404]));
  await gone;
});

test('a name that is suspended is off the air at every worker when the command is done', { skip }, async () => {
  await using place = await home('workers: 2\nabuse: { email: abuse@example.com, url: https://example.com/abuse }\n');
  const { config } = place;
  await using node = new Node(answering('hello'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  await using gateway = await started(config);
  const { addresses } = gateway;
  const client = createGatewayClient({ socketPath: addresses.adminSocket });
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  await workersWhen(addresses, (workers) => workers.every(({ links }) => links === 1));
  const many = async (): Promise<Set<number>> => {
    const answers = await Promise.all(Array.from({ length: 16 }, () => get(addresses, 'shop.localhost')));
    return new Set(answers.map(({ status }) => status));
  };
  assert.deepEqual(await many(), new Set([200]));
  const [connection] = node.overlay.connections(await gatewayPeer(config));
  const asked = once(connection?.closed ?? assert.fail('no connection'), 'abort');
  await client.suspend({ subject: 'shop', status: 451, note: 'not for clients' });
  assert.deepEqual(await many(), new Set([451]));
  await asked;
  assert.equal(node.links.list().length, 2, 'links stay');
  const { text } = await get(addresses, 'shop.localhost');
  assert.match(text, /abuse@example\.com/);
  assert.doesNotMatch(text, /not for clients/);
  const page = await get(addresses, 'localhost', '/.well-known/moat/abuse');
  assert.equal(page.status, 200);
  assert.match(page.text, /https:\/\/example\.com\/abuse/);
  const [name] = (await client.names()).names;
  assert.deepEqual([name?.state, name?.suspended], ['live', 451]);
  await client.resume({ subject: 'shop' });
  assert.deepEqual(await many(), new Set([200]));
});

test('a member that does not reach the link port is served by every worker, through control', { skip }, async () => {
  await using place = await home('workers: 2\n');
  // Members dial the port at the address of the overlay, where nobody listens.
  const config = { ...place.config, listen: { ...place.config.listen, link: { host: '127.0.0.2', port: 0 } } };
  await using node = new Node(answering('slowly'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  await using gateway = await started(config);
  const { addresses } = gateway;
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  await workersWhen(addresses, (workers) => workers.every(({ pipedLinks }) => pipedLinks > 0));
  const answers = await Promise.all(Array.from({ length: 16 }, () => get(addresses, 'shop.localhost')));
  assert.deepEqual(new Set(answers.map(({ text }) => text)), new Set(['slowly']));
  const { warnings } = await createGatewayClient({ socketPath: addresses.adminSocket }).status();
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['LINKS_PIPED'],
  );
});

test('a port that is taken fails the start, and leaves no worker', { skip }, async () => {
  await using first = await home();
  await using taken = await started(first.config);
  await using place = await home('workers: 2\n');
  const https = { host: '127.0.0.1', port: taken.addresses.httpsPort };
  const config = { ...place.config, listen: { ...place.config.listen, https } };
  await assert.rejects(started(config), { code: 'LISTEN_FAILED' });
});

test('a gateway of one process has no workers to restart', async () => {
  await using place = await home();
  await using gateway = await started(place.config);
  const client = createGatewayClient({ socketPath: gateway.addresses.adminSocket });
  assert.deepEqual((await client.status()).workers, []);
  await assert.rejects(client.restartWorkers(), { code: 'NO_WORKERS' });
});
