/** gateway.yaml read anew, as far as it is about names: which are reserved, ports, the page in front of them, the zone. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { decode } from 'dns-packet';
import type { Service } from '@moat/contract';
import { silentLogger, systemClock } from '@moat/core';
import { freePort } from '@moat/testkit';
import type { GatewayConfig } from '../src/config.ts';
import { createGateway, type Gateway } from '../src/create-gateway.ts';
import type { DnsServerConfig } from '../src/dns/dns-config.ts';
import { canShareListeners } from '../src/workers/shares.ts';
import { queryOf } from './dns/zone.ts';
import { answering } from './member.ts';
import { Shop } from './shop.ts';
import { Node, gatewayPeer, get, home } from './whole-gateway.ts';

const workers = canShareListeners() ? 2 : 1;
const DB: Service = { name: 'db', on: ['tag:web'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' };

/** A gateway whose file is what `change` made of it last; `change` resolves with the keys that are in force. */
async function changeable(
  config: GatewayConfig,
): Promise<{ readonly gateway: Gateway; readonly change: (to: Partial<GatewayConfig>) => Promise<readonly string[]> }> {
  let file = config;
  const gateway = createGateway(
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
  return {
    gateway,
    change: async (to) => {
      file = { ...config, ...to };
      const { changed, needsRestart } = await gateway.reload();
      assert.deepEqual(needsRestart, []);
      return changed;
    },
  };
}

function knock(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => {
      socket.destroy();
      resolve('open');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'failed'));
  });
}

/** Resolves when `port` is met as `wanted`: workers open and close it by themselves. */
async function becomes(port: number, wanted: string): Promise<void> {
  const until = Date.now() + 10_000;
  while ((await knock(port)) !== wanted) {
    assert.ok(Date.now() < until, `port ${port} is never ${wanted}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function asked(port: number, name: string, type: string): Promise<unknown> {
  const socket = createSocket('udp4');
  try {
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const answered = once(socket, 'message', { signal: AbortSignal.timeout(5_000) });
    socket.send(queryOf(name, type));
    const [message] = (await answered) as [Buffer];
    const [record] = decode(message).answers ?? [];
    return (record as { data?: unknown } | undefined)?.data;
  } finally {
    socket.close();
  }
}

test('reserved names, ports and the page in front change in place, at every worker', async () => {
  await using place = await home(`workers: ${workers}\n`);
  const { config } = place;
  await using node = new Node(answering('hello'));
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  const { gateway, change } = await changeable(config);
  await using _gateway = gateway;
  const { addresses } = gateway;
  const port = await freePort();
  const version = shop.next(shop.first, {
    services: [...shop.first.contract.services, DB],
    publish: [shop.line('shop'), shop.line('late'), shop.line('raw', { service: 'db', tls: 'passthrough', port })],
  });
  const show = async (): Promise<unknown> => {
    // Whom news concern is disconnected, and comes again.
    const until = Date.now() + 5_000;
    const again = (): ReturnType<typeof node.show> =>
      node.show(addresses, shop.bundle(version)).catch((error: unknown) => {
        if (Date.now() > until) throw error;
        return new Promise((resolve) => setTimeout(() => resolve(again()), 50));
      });
    const answer = await again();
    return answer.ok ? answer.refused.map(({ name, code }) => [name, code]) : answer.code;
  };
  const forHtml = (): Promise<{ text: string }> => get(addresses, 'shop.localhost', '/', { accept: 'text/html' });

  assert.deepEqual(await change({ reservedNames: ['late'] }), ['names.reserved']);
  assert.deepEqual(await show(), [
    ['late', 'NAME_RESERVED'],
    ['raw', 'PORT_NOT_ALLOWED'],
  ]);
  assert.deepEqual(await change({ tcpPorts: [{ from: port, to: port }] }), ['tcpPorts', 'names.reserved']);
  assert.deepEqual(await show(), []);
  await becomes(port, 'open');
  assert.deepEqual(await change({ reservedNames: ['late'] }), ['tcpPorts', 'names.reserved']);
  await becomes(port, 'ECONNREFUSED');
  assert.deepEqual(await show(), [['raw', 'PORT_NOT_ALLOWED']], 'whoever holds a name that is reserved now keeps it');
  assert.equal((await get(addresses, 'late.localhost')).text, 'hello');

  assert.ok((await change({ interstitial: 'unverified' })).includes('interstitial'));
  const pages = await Promise.all(Array.from({ length: 6 }, forHtml));
  assert.ok(pages.every(({ text }) => text.includes('does not vouch')));
  assert.equal((await get(addresses, 'shop.localhost')).text, 'hello', 'programs pass');
  await change({});
  assert.equal((await forHtml()).text, 'hello');
});

test('the zone is another one, its sockets stay, and move where they are told to', async () => {
  await using place = await home();
  const { config } = place;
  const { gateway, change } = await changeable(config);
  await using _gateway = gateway;
  const [first, second] = [await freePort(), await freePort()];
  const zone = (address: string, port: number, more: Partial<DnsServerConfig> = {}): Partial<GatewayConfig> => ({
    dns: {
      resolvers: [],
      server: {
        listen: [{ host: '127.0.0.1', port }],
        addresses: [address],
        peers: [],
        ns: ['ns.localhost'],
        txt: new Map(),
        ...more,
      },
    },
  });
  const serial = async (port: number): Promise<number> =>
    ((await asked(port, 'localhost', 'SOA')) as { serial: number }).serial;
  assert.deepEqual(await change(zone('192.0.2.1', first)), ['dns']);
  assert.equal(await asked(first, 'shop.localhost', 'A'), '192.0.2.1');
  const before = await serial(first);
  assert.deepEqual(await change(zone('192.0.2.2', first)), ['dns.addresses']);
  assert.equal(await asked(first, 'shop.localhost', 'A'), '192.0.2.2');
  assert.ok((await serial(first)) > before, 'secondaries see that it changed');
  const txt = new Map([['_psl.localhost', ['yes']]]);
  assert.deepEqual(await change(zone('192.0.2.2', first, { txt })), ['dns.txt._psl.localhost']);
  assert.deepEqual(String(await asked(first, '_psl.localhost', 'TXT')), 'yes');
  await change(zone('192.0.2.3', second));
  assert.equal(await asked(second, 'shop.localhost', 'A'), '192.0.2.3');
  assert.equal(await knock(first), 'ECONNREFUSED');
  // Taken by somebody else: nothing changes.
  const other = createServer().listen(first, '127.0.0.1');
  await once(other, 'listening');
  await assert.rejects(change(zone('192.0.2.4', first)), { code: 'LISTEN_FAILED' });
  assert.equal(await asked(second, 'shop.localhost', 'A'), '192.0.2.3');
  other.close();
  assert.deepEqual(await change({}), ['dns']);
  assert.equal(await knock(second), 'ECONNREFUSED');
});
