/** gateway.yaml read anew: what can change in place does, what cannot is named, what is wrong changes nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createGatewayClient } from '@moat/admin-api';
import { silentLogger, systemClock } from '@moat/core';
import { parseGatewayConfig, type GatewayConfig } from '../src/config.ts';
import { createGateway } from '../src/create-gateway.ts';
import { refusal } from '../src/errors.ts';
import { differences } from '../src/reload.ts';
import { canShareListeners } from '../src/workers/shares.ts';
import { answering } from './member.ts';
import { Shop } from './shop.ts';
import { Node, gatewayPeer, get, home } from './whole-gateway.ts';

const workers = canShareListeners() ? 2 : 1;

test('keys that differ are named with their dots; a list is one value', () => {
  const before = { a: 1, limits: { rate: undefined, body: 5 }, list: [1], same: { x: [1] } };
  const after = { a: 2, limits: { rate: 7, body: 5 }, list: [1, 2], same: { x: [1] }, more: { y: 1 } };
  assert.deepEqual(differences(before, after), ['a', 'limits.rate', 'list', 'more']);
});

test('limits, pages and policy change at every worker, links and names stay, a wrong file changes nothing', async () => {
  await using place = await home(`workers: ${workers}\n`);
  const { config } = place;
  let file: () => GatewayConfig = () => config;
  await using node = new Node(answering('hello'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  await using gateway = createGateway(
    {
      clock: systemClock,
      logger: silentLogger,
      logLevel: 'silent',
      readConfig: () => Promise.resolve().then(() => file()),
      onStopAsked: () => undefined,
      onRestartAsked: () => undefined,
    },
    config,
  );
  await gateway.start({ signal: AbortSignal.timeout(30_000) });
  const { addresses } = gateway;
  const client = createGatewayClient({ socketPath: addresses.adminSocket });
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  assert.equal((await get(addresses, 'shop.localhost')).status, 200);
  const links = node.links.list();

  assert.deepEqual(await client.reload(), { changed: [], needsRestart: [] });
  const limits = { ...config.limits, maxBodyBytes: 5, namesPerDeployment: 3 };
  file = () => ({ ...config, limits, abuse: { email: 'a@b.c' }, domain: 'elsewhere.localhost', workers: 1 });
  const { changed, needsRestart } = await client.reload();
  assert.deepEqual(changed, ['limits.namesPerDeployment', 'limits.maxBodyBytes', 'abuse']);
  assert.deepEqual(needsRestart, workers === 1 ? ['domain'] : ['domain', 'workers']);
  assert.equal((await get(addresses, 'localhost', '/.well-known/moat/abuse')).status, 200);
  const answers = await Promise.all(Array.from({ length: 8 }, () => get(addresses, 'shop.localhost')));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  assert.deepEqual(node.links.list(), links, 'links live on');
  const { warnings } = await client.status();
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['RESTART_NEEDED'],
  );

  file = () => {
    throw refusal('GATEWAY_CONFIG_INVALID', 'gateway.yaml:3:1 limts: unknown key; did you mean limits?');
  };
  await assert.rejects(client.reload(), { code: 'GATEWAY_CONFIG_INVALID', message: /gateway\.yaml:3:1/ });
  assert.equal((await get(addresses, 'localhost', '/.well-known/moat/abuse')).status, 200, 'what was there stays');

  // Who is not invited any more goes, and comes back when it may.
  file = () => ({ ...config, publishers: 'invited' });
  const [link] = links;
  const gone = once(link?.closed ?? assert.fail('no link'), 'abort');
  assert.ok((await client.reload()).changed.includes('publishers'));
  assert.equal((await get(addresses, 'shop.localhost')).status, 404);
  await gone;
  file = () => config;
  await gateway.reload();
  assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
  assert.equal((await get(addresses, 'shop.localhost')).status, 200);
  const { lines } = await client.audit({ after: 0, sinceMs: 0 });
  assert.deepEqual(
    lines.map(({ action }) => action).filter((action) => action.startsWith('config.')),
    ['config.reloaded', 'config.reloaded', 'config.refused', 'config.reloaded', 'config.reloaded'],
  );
});

test('a file that says the same in other words changes nothing', async () => {
  await using place = await home();
  const text = 'version: 1\ndomain: localhost\ntls: local\nlimits: { headTime: 30s }\n';
  const [one, other] = [text, text.replace('30s', '30000ms')].map((each) =>
    parseGatewayConfig(each, `${place.path}/gateway.yaml`, { MOAT_HOME: place.path }),
  );
  assert.deepEqual(differences(one ?? {}, other ?? {}), []);
});
