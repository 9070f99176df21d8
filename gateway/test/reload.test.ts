/** gateway.yaml read anew: what can change in place does, what cannot is named, what is wrong changes nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { createGatewayClient } from '@moat/admin-api';
import { silentLogger, systemClock } from '@moat/core';
import type { CertificateFiles } from '../src/certificates/files.ts';
import { openLocalAuthority } from '../src/certificates/local-ca.ts';
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

test('other files of certificates are shown from the next handshake on, and connections that stand go on', async () => {
  await using place = await home(`workers: ${workers}\n`);
  const write = async (name: string): Promise<CertificateFiles> => {
    const directory = join(place.path, name);
    const authority = await openLocalAuthority({ clock: systemClock }, { directory, domain: 'localhost' });
    const pair = (await authority.certificateFor('localhost')) ?? assert.fail();
    const files = { certificate: join(directory, 'chain.pem'), key: join(directory, 'chain.key') };
    await writeFile(files.certificate, pair.certificate);
    await writeFile(files.key, pair.key, { mode: 0o600 });
    return files;
  };
  const [one, two] = [await write('one'), await write('two')];
  const config = { ...place.config, tls: { files: [one] } };
  let file: GatewayConfig = config;
  await using gateway = createGateway(
    {
      clock: systemClock,
      logger: silentLogger,
      logLevel: 'silent',
      readConfig: () => Promise.resolve(file),
      onStopAsked: () => undefined,
      onRestartAsked: () => undefined,
    },
    config,
  );
  await gateway.start({ signal: AbortSignal.timeout(30_000) });
  const shake = async (): Promise<TLSSocket> => {
    const { httpsPort: port } = gateway.addresses;
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    return socket;
  };
  const standing = await shake();
  const serial = standing.getPeerCertificate().serialNumber;
  file = { ...config, tls: { files: [{ ...two, key: '/nowhere' }] } };
  await assert.rejects(gateway.reload(), { code: 'CERTIFICATE_INVALID' });
  file = { ...config, tls: { files: [two] } };
  assert.deepEqual(await gateway.reload(), { changed: ['tls.files'], needsRestart: [] });
  const after = await Promise.all(Array.from({ length: 8 }, shake));
  const serials = new Set(after.map((socket) => socket.getPeerCertificate().serialNumber));
  assert.deepEqual([serials.size, serials.has(serial)], [1, false]);
  for (const socket of after) socket.destroy();
  standing.write('GET /.well-known/moat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
  assert.match(String((await once(standing, 'data'))[0]), /^HTTP\/1\.1 200/);
  standing.destroy();
});

test('a file that says the same in other words changes nothing', async () => {
  await using place = await home();
  const text = 'version: 1\ndomain: localhost\ntls: local\nlimits: { headTime: 30s }\n';
  const [one, other] = [text, text.replace('30s', '30000ms')].map((each) =>
    parseGatewayConfig(each, `${place.path}/gateway.yaml`, { MOAT_HOME: place.path }),
  );
  assert.deepEqual(differences(one ?? {}, other ?? {}), []);
});
