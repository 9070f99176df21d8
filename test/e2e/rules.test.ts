/** Edge rules as a publisher writes them in moat.yaml and as clients meet them, through a gateway and two members. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { createGatewayClient } from '@moat/admin-api';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const CURL = '/usr/bin/curl';
const world = new World();
let web: WebService;
let api: WebService;
/** What `/healthz` of the service `text` says; it answers everything else with a long text. */
let health = 200;
let asked = 0;
const text: Server = createServer((request, response) => {
  asked += 1;
  if (request.url === '/healthz') response.writeHead(health).end();
  else response.writeHead(200, { 'content-type': 'text/plain' }).end('all the words there are '.repeat(2_000));
});

before(async () => {
  [web, api] = await Promise.all([startWebService('web'), startWebService('api')]);
  text.listen(0, '127.0.0.1');
  await once(text, 'listening');
  const { port } = text.address() as AddressInfo;
  await world.startGateway();
  const gateway = world.gateway.pin;
  const line = (rules: object, service: string = 'web'): object => ({ service, gateway, ...rules });
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true }, second: { expose: [`${api.port},public`, `${web.port},public`] } },
    services: {
      web: { on: ['owner', 'second'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' },
      api: { on: ['second'], port: 81, target: `127.0.0.1:${api.port}`, protocol: 'http' },
      text: { on: ['owner'], port: 82, target: `127.0.0.1:${port}`, protocol: 'http', health: '/healthz' },
    },
    extraPublish: {
      busy: line({ rate: '2/h' }),
      counted: line({ rate: { all: '3/h' }, enforce: 'member' }, 'api'),
      local: line({ from: { deny: ['127.0.0.2'] } }),
      moved: line({ redirect: 'https://new.example/' }),
      closed: line({ maintenance: { message: 'back at noon', retryAfter: '90s' } }),
      shop: line({
        paths: { '/api': { service: 'api', strip: true } },
        headers: {
          request: { set: { 'x-tier': 'gold' }, remove: ['x-debug'] },
          response: { set: { 'x-frame-options': 'DENY' }, remove: ['x-service'] },
        },
        maxBody: '1KiB',
        sticky: true,
        retries: 1,
      }),
      canary: line({ split: { api: 50 } }),
      text: line({ compress: true, breaker: { failures: 2, for: '1s' }, concurrency: 100 }, 'text'),
    },
  });
  for (const target of [web.port, port]) {
    await world.machine('owner').ok(['node', 'expose', String(target), '--to', 'shop', '--public']);
  }
  await eventually('both members serve', async () => {
    const { status } = await get('shop.localhost', { path: '/api/' });
    return (
      status === 200 && (await get('shop.localhost')).status === 200 && (await get('text.localhost')).status === 200
    );
  });
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await Promise.all([web?.[Symbol.asyncDispose](), api?.[Symbol.asyncDispose]()]);
  text.closeAllConnections();
  text.close();
});

const get: typeof world.gateway.browser.fetch = (host, options) => world.gateway.browser.fetch(host, options);
const codeOf = (page: string): string => /<code>([A-Z_]+)<\/code>/.exec(page)?.[1] ?? '';

/** A client with another address of this machine. */
async function from(localAddress: string, host: string): Promise<{ status: number; text: string }> {
  const sent = httpsRequest({ ...world.gateway.browser.tls(host), localAddress, agent: false, headers: { host } });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) body += chunk;
  return { status: response.statusCode ?? 0, text: body };
}

suite('edge rules', () => {
  test('a rate of each client, with the time to come back', async () => {
    assert.deepEqual([(await get('busy.localhost')).status, (await get('busy.localhost')).status], [200, 200]);
    // Each worker counts for itself.
    const refused = await eventually('past the rate', async () => {
      const answer = await get('busy.localhost');
      return answer.status === 200 ? undefined : answer;
    });
    assert.deepEqual([refused.status, codeOf(refused.text)], [429, 'RATE_LIMITED']);
    assert.ok(Number(refused.headers['retry-after']) > 1_000);
    assert.equal((await from('127.0.0.9', 'busy.localhost')).status, 200);
  });

  test('addresses', async () => {
    assert.equal((await from('127.0.0.2', 'local.localhost')).status, 403);
    assert.equal((await from('127.0.0.3', 'local.localhost')).status, 200);
  });

  test('redirect and maintenance', async () => {
    const moved = await get('moved.localhost', { path: '/a?b' });
    assert.deepEqual([moved.status, moved.headers.location], [308, 'https://new.example/a?b']);
    const closed = await get('closed.localhost');
    assert.deepEqual([closed.status, closed.headers['retry-after']], [503, '90']);
    assert.match(closed.text, /Back at noon\./);
  });

  test('paths to two services on two members, with fields and bodies as the rules say', async () => {
    assert.equal((await get('shop.localhost', { path: '/apis' })).text, 'hello from web\n');
    const { text: said, headers } = await get('shop.localhost', {
      path: '/api/headers',
      headers: { 'x-debug': '1', 'x-forwarded-for': '192.0.2.1' },
    });
    const got = JSON.parse(said) as Record<string, string>;
    assert.deepEqual([got['x-tier'], got['x-debug'], got['x-forwarded-for']], ['gold', undefined, '127.0.0.1']);
    assert.equal(headers['x-frame-options'], 'DENY');
    assert.equal((await get('shop.localhost')).headers['x-service'], undefined);
    const large = await get('shop.localhost', { method: 'POST', path: '/upload', body: Buffer.alloc(1_025) });
    assert.equal(large.status, 413);
    assert.equal(
      (await get('shop.localhost', { method: 'POST', path: '/upload', body: Buffer.alloc(1_024) })).status,
      200,
    );
  });

  test('a client stays with one member, and its service does not see by what', async () => {
    const first = await get('shop.localhost', { path: '/headers' });
    const [cookie = ''] = (first.headers['set-cookie']?.[0] ?? '').split(';');
    assert.ok(cookie.startsWith('__Host-moat-member-'));
    for (let i = 0; i < 6; i++) {
      const again = await get('shop.localhost', { path: '/headers', headers: { cookie } });
      assert.equal(again.headers['set-cookie'], undefined);
      assert.ok(!again.text.includes('moat-member'));
    }
  });

  test('a canary gets its part of clients, each of whom stays where it is', async () => {
    const addresses = Array.from({ length: 24 }, (_, i) => `127.0.1.${i + 1}`);
    const ask = (): Promise<string[]> =>
      Promise.all(addresses.map(async (address) => (await from(address, 'canary.localhost')).text));
    const first = await ask();
    const canaries = first.filter((answer) => answer === 'hello from api\n').length;
    assert.ok(canaries > 3 && canaries < 21, `${canaries} of 24`);
    assert.deepEqual(await ask(), first);
  });

  test('compressed for curl, and only where it asks for it', async (t) => {
    if (!existsSync(CURL)) return t.skip('no curl here: apt-get install curl');
    const { machine, port } = world.gateway;
    const ca = String((await machine.ok(['gateway', 'status'])).json['caFile']);
    const url = `https://text.localhost:${port}/`;
    const args = ['-sS', '--cacert', ca, '--resolve', `text.localhost:${port}:127.0.0.1`, '-w', '%{size_download}'];
    const run = promisify(execFile);
    const plain = await run(CURL, [...args, '-o', '/dev/null', url]);
    const small = await run(CURL, [...args, '--compressed', '-o', '/dev/null', url]);
    assert.equal(Number(plain.stdout), 48_000);
    assert.ok(Number(small.stdout) < 2_000, small.stdout);
    const shown = await run(CURL, [...args, '--compressed', url]);
    assert.equal(shown.stdout.slice(0, 24), 'all the words there are ');
  });

  test('a member keeps the rate itself, and the gateway says so to clients', async () => {
    for (let i = 0; i < 3; i++) assert.equal((await from(`127.0.2.${i + 1}`, 'counted.localhost')).status, 200);
    assert.equal((await from('127.0.2.9', 'counted.localhost')).status, 429);
  });

  test('a service that fails its health check gets nothing, then rests, and is back when it is well', async (t) => {
    if (process.env['MOAT_TEST'] !== 'full') return t.skip('two checks take 10 s; MOAT_TEST=full waits for them');
    health = 503;
    await eventually('its member refuses', async () => (await get('text.localhost')).status === 502);
    await eventually('it rests', async () => codeOf((await get('text.localhost')).text) === 'MEMBERS_RESTING');
    const before = asked;
    for (let i = 0; i < 5; i++) assert.notEqual((await get('text.localhost')).status, 200);
    assert.ok(asked - before <= 2, 'nobody but the check asked it');
    health = 200;
    await eventually('it is back', async () => (await get('text.localhost')).status === 200);
  });

  test('its operator sees each service of a name', async () => {
    const socketPath = world.gateway.machine.path('state', 'gateway', 'gateway.sock');
    const { routes } = await createGatewayClient({ socketPath }).routes();
    const shown = routes.filter(({ host }) => host === 'shop.localhost');
    assert.deepEqual(
      shown.map(({ service, upstreams }) => [service, upstreams.length]),
      [
        ['web', 2],
        ['api', 1],
      ],
    );
  });

  test('explain knows what a path leads to, on the machine that offers it and elsewhere', async () => {
    const explained = async (on: string): Promise<Record<string, unknown>> =>
      (await world.machine(on).ok(['explain', 'gateway:localhost', 'api', '-n', 'shop'])).json;
    const there = await explained('second');
    assert.deepEqual([there['allowed'], there['works'], there['to']], [true, true, 'api'], JSON.stringify(there));
    const elsewhere = await explained('owner');
    assert.deepEqual([elsewhere['allowed'], elsewhere['works']], [true, null]);
    assert.match(String(elsewhere['reason']), /localhost → api/);
  });
});
