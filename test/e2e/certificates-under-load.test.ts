/**
 * A gateway with workers whose certificates come from an authority, under load: they are renewed, routes change, the file is
 * read anew, and no request fails and no WebSocket ends; it is killed, and everything it acknowledged is there.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { createGatewayClient, type GatewayClient } from '@moat/admin-api';
import { WebSocket } from 'ws';
import { freePorts } from '@moat/testkit';
import { startPebble, withoutPebble, type Pebble } from '../../packages/acme/test/pebble.ts';
import { Browser } from './browser.ts';
import { eventually, within } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const DOMAIN = 'apps.test';
const HOST = `shop.${DOMAIN}`;
/** Renewed at its half: often enough to see it, with time left for a machine that has other work to do. */
const LIFE_SECONDS = 45;

suite('certificates of an authority, under load', { skip: withoutPebble ?? false }, () => {
  let pebble: Pebble;
  let web: WebService;
  let world: World;
  let browser: Browser;
  let ca: string;
  let port: number;
  let gateway: GatewayClient;

  before(async () => {
    const [https = 0, http = 0, overlay = 0, link = 0] = await freePorts(4);
    port = https;
    pebble = await startPebble({ httpPort: http, tlsPort: https, lifeSeconds: LIFE_SECONDS });
    ca = await pebble.root();
    browser = new Browser({ port, ca });
    web = await startWebService('shop');
    world = new World({ caFile: pebble.trustFile });
    await world.startGateway('open', {
      domain: DOMAIN,
      workers: 2,
      listen: {
        https: `127.0.0.1:${https}`,
        http: `127.0.0.1:${http}`,
        overlay: [`/ip4/127.0.0.1/tcp/${overlay}`],
        link: `127.0.0.1:${link}`,
      },
      tls: { acme: { directory: pebble.directory, ca: pebble.trustFile, challenges: ['tls-alpn-01'] } },
    });
    gateway = createGatewayClient({ socketPath: world.gateway.machine.path('state', 'gateway', 'gateway.sock') });
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true } },
      services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
      publish: { shop: 'web' },
    });
    await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
    await eventually('the shop answers', async () => (await browser.fetch(HOST)).status === 200, 30_000);
  });

  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await web?.[Symbol.asyncDispose]();
    await pebble?.[Symbol.asyncDispose]();
  });

  /** Of the certificate that a client who comes now is shown. */
  function serialOf(host: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = tlsConnect({ host: '127.0.0.1', port, servername: host, ca }, () => {
        resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
        socket.destroy();
      });
      socket.once('error', reject);
    });
  }

  /** At both workers: a few handshakes reach both. */
  const serials = async (host: string): Promise<Set<string>> =>
    new Set(await Promise.all(Array.from({ length: 6 }, () => serialOf(host))));

  test('renewals, routes that come and go, and reloads: no request fails, WebSockets live on', async (t) => {
    const options = { ca, servername: HOST, headers: { host: HOST } };
    const sockets = Array.from({ length: 8 }, () => new WebSocket(`wss://127.0.0.1:${port}/ws`, options));
    await Promise.all(sockets.map((socket) => once(socket, 'open')));
    const before = await serials(HOST);
    const stopping = new AbortController();
    let answered = 0;
    const failed: string[] = [];
    const clients = Array.from({ length: 4 }, async () => {
      while (!stopping.signal.aborted) {
        const outcome = await browser.fetch(HOST).then(
          ({ status }) => String(status),
          (error: NodeJS.ErrnoException) => error.code ?? error.message,
        );
        if (outcome !== '200') failed.push(outcome);
        answered += 1;
      }
    });
    const { machine } = world.gateway;
    const text = await readFile(machine.path('gateway.yaml'), 'utf8');
    const changes = (async () => {
      for (let round = 0; !stopping.signal.aborted; round++) {
        await world.apply({ publish: { shop: 'web', [`other-${round % 2}`]: 'web' } });
        await machine.write('gateway.yaml', `${text}limits: { namesPerDeployment: ${10 + (round % 2)} }\n`);
        await gateway.reload();
      }
    })();
    await eventually(
      'the renewed certificate at both workers',
      async () => {
        const now = await serials(HOST);
        return now.size === 1 && ![...now].some((serial) => before.has(serial));
      },
      90_000,
    );
    stopping.abort();
    await Promise.all([...clients, changes]);
    assert.deepEqual(failed, []);
    t.diagnostic(`${answered} requests, ${pebble.issued()} certificates issued`);
    assert.ok(answered > 20, `${answered} requests`);
    for (const [index, socket] of sockets.entries()) {
      socket.send(`still ${index}`);
      const [data] = (await once(socket, 'message')) as [Buffer];
      assert.equal(data.toString(), `still ${index}`);
      socket.terminate();
    }
  });

  test('killed under load: names, certificates and audit lines are there, members serve within 3 s', async (t) => {
    const { daemon } = world.gateway;
    const decided: string[] = [];
    const stopping = new AbortController();
    const load = [
      (async () => {
        for (let i = 0; ; i++) decided.push((await gateway.suspend({ subject: `load-${i}`, status: 451 })).subject);
      })().catch(() => undefined),
      ...Array.from({ length: 4 }, async () => {
        while (!stopping.signal.aborted) await browser.fetch(HOST).catch(() => undefined);
      }),
    ];
    await eventually('decisions are acknowledged', () => Promise.resolve(decided.length > 50));
    const { names } = await gateway.names();
    const { certificates } = await gateway.certificates();
    const held = certificates.filter(({ state }) => state === 'valid');
    assert.ok(held.length > 0);
    const { lines } = await gateway.audit({ after: 0, sinceMs: 0 });
    await daemon.kill('SIGKILL');
    await world.restartGateway();
    const readyAt = Date.now();
    await eventually('it serves', async () => (await browser.fetch(HOST)).status === 200);
    const backMs = Date.now() - readyAt;
    stopping.abort();
    await Promise.all(load);
    t.diagnostic(`served over https ${backMs} ms after the gateway answered its operator`);
    assert.ok(backMs < within(3_000), `${backMs} ms`);
    const kept = await gateway.names();
    assert.deepEqual(
      names
        .map(({ host, deployment }) => [host, deployment])
        .filter(([host, deployment]) => {
          return !kept.names.some((each) => each.host === host && each.deployment === deployment);
        }),
      [],
    );
    const after = (await gateway.certificates()).certificates;
    for (const each of held) {
      // The same, or one that followed it.
      const found = after.find(({ names: of }) => of.join(' ') === each.names.join(' '));
      assert.ok((found?.notAfter ?? '') >= (each.notAfter ?? ''), each.names.join(' '));
    }
    const suspended = new Set((await gateway.publishers()).suspensions.map(({ subject }) => subject));
    assert.deepEqual(
      decided.filter((subject) => !suspended.has(subject)),
      [],
    );
    const again = await gateway.audit({ after: 0, sinceMs: 0 });
    assert.deepEqual(again.lines.slice(0, lines.length), lines);
    assert.deepEqual((await gateway.checkAudit()).problems, []);
  });
});
