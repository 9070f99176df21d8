/**
 * Certificates of a real authority, end to end: pebble, which looks for proofs at the gateway's own ports, and a gateway
 * with workers; a second gateway that serves its zone proves a wildcard.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { connect as tlsConnect } from 'node:tls';
import { after, before, suite, test } from 'node:test';
import { stringify } from 'yaml';
import { freePorts } from '@moat/testkit';
import { standBefore, type Front } from '../../packages/acme/test/front.ts';
import { startPebble, withoutPebble, type Pebble } from '../../packages/acme/test/pebble.ts';
import { Browser } from './browser.ts';
import { Machine, eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const DOMAIN = 'apps.test';
/** All that waits for an order; the machine may have other work to do. */
const ORDER_MS = 30_000;

interface Shown {
  readonly names: readonly string[];
  readonly state: string;
  readonly issuer: string | null;
  readonly origin: string;
  readonly failure: { readonly code: string; readonly message: string } | null;
  readonly next: string | null;
}

async function show(machine: Machine, name: string): Promise<Shown> {
  return (await machine.ok(['certs', 'show', name])).json as unknown as Shown;
}

function valid(machine: Machine, name: string): Promise<Shown> {
  return eventually(
    `a certificate for ${name}`,
    async () => {
      const shown = await show(machine, name);
      return shown.state === 'valid' && shown;
    },
    ORDER_MS,
  );
}

/** The alert that ends a handshake, or what ALPN came to. */
function handshake(port: number, servername: string, protocol: string): Promise<string> {
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, servername, ALPNProtocols: [protocol], rejectUnauthorized: false };
    const socket = tlsConnect(options, () => {
      resolve(String(socket.alpnProtocol));
      socket.destroy();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

suite('certificates of an authority', { ...(withoutPebble !== undefined && { skip: withoutPebble }) }, () => {
  let pebble: Pebble;
  let second: Pebble;
  let front: Front;
  let web: WebService;
  let world: World;
  let settings: { readonly [key: string]: unknown };
  let httpsPort: number;
  let httpPort: number;

  before(async () => {
    const [https, http, overlay, link] = await freePorts(4);
    [httpsPort, httpPort] = [https ?? 0, http ?? 0];
    pebble = await startPebble({ httpPort, tlsPort: httpsPort });
    second = await startPebble({ httpPort, tlsPort: httpsPort });
    front = await standBefore(pebble);
    web = await startWebService('shop');
    world = new World({ caFile: pebble.trustFile });
    settings = {
      domain: DOMAIN,
      workers: 2,
      listen: {
        https: `127.0.0.1:${https}`,
        http: `127.0.0.1:${http}`,
        overlay: [`/ip4/127.0.0.1/tcp/${overlay}`],
        link: `127.0.0.1:${link}`,
      },
      tls: {
        acme: {
          email: 'ops@example.com',
          directory: front.directory,
          ca: pebble.trustFile,
          challenges: ['tls-alpn-01'],
          fallback: { directory: second.directory, ca: second.trustFile },
        },
      },
    };
  });

  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await web?.[Symbol.asyncDispose]();
    await front?.[Symbol.asyncDispose]();
    await pebble?.[Symbol.asyncDispose]();
    await second?.[Symbol.asyncDispose]();
  });

  const browser = async (of: Pebble = pebble): Promise<Browser> =>
    new Browser({ port: httpsPort, ca: await of.root() });

  test('a kill between issue and save costs no second order', async () => {
    // The authority has issued it, and the gateway dies before it has it.
    const asked = Promise.withResolvers<void>();
    const died = Promise.withResolvers<void>();
    front.hold = async (path) => {
      if (!path.startsWith('/certZ/')) return;
      asked.resolve();
      await died.promise;
    };
    await world.startGateway('open', settings);
    await asked.promise;
    await world.gateway.daemon.kill('SIGKILL');
    front.hold = undefined;
    died.resolve();
    await world.restartGateway();
    const { machine } = world.gateway;
    const shown = await valid(machine, DOMAIN);
    assert.deepEqual(shown.names, [DOMAIN]);
    assert.match(shown.issuer ?? '', /Pebble/);
    assert.equal(pebble.orders(), 1);
    assert.equal(pebble.issued(), 1);
    assert.equal((await (await browser()).fetch(DOMAIN, { path: '/.well-known/moat' })).status, 200);
  });

  test('a published name gets its own, proved in a handshake at whichever worker is asked', async () => {
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true } },
      services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
      publish: { shop: 'web' },
    });
    await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
    const { machine } = world.gateway;
    await valid(machine, 'shop');
    const clients = await browser();
    await eventually('the shop answers', async () => (await clients.fetch(`shop.${DOMAIN}`)).status === 200);
  });

  test('a handshake for an unknown name orders nothing, and no proof is shown that nobody waits for', async () => {
    const orders = pebble.orders();
    assert.match(await handshake(httpsPort, `nobody.${DOMAIN}`, 'http/1.1'), /UNRECOGNIZED_NAME/);
    assert.match(await handshake(httpsPort, `shop.${DOMAIN}`, 'acme-tls/1'), /UNRECOGNIZED_NAME/);
    const stray = await fetch(`http://127.0.0.1:${httpPort}/.well-known/acme-challenge/none`, {
      headers: { host: `shop.${DOMAIN}` },
      redirect: 'manual',
    });
    assert.notEqual(stray.status, 200);
    assert.equal(pebble.orders(), orders);
  });

  test('with the authority down names are served as before, and a second one gives what is new', async () => {
    const { machine } = world.gateway;
    const { tls } = settings as { readonly tls: { readonly acme: object } };
    // Another kind of proof, too.
    settings = { ...settings, tls: { acme: { ...tls.acme, challenges: ['http-01'] } } };
    await world.gateway.daemon.kill('SIGKILL');
    await pebble.kill();
    await machine.write('gateway.yaml', stringify({ version: 1, publishers: 'open', ...settings }));
    await world.restartGateway();
    await world.apply({ publish: { shop: 'web', late: 'web' } });
    const late = await valid(machine, 'late');
    assert.equal(late.origin, second.directory);
    const clients = await browser(second);
    await eventually('the late one answers', async () => (await clients.fetch(`late.${DOMAIN}`)).status === 200);
    const before = await show(machine, 'shop');
    assert.equal(before.state, 'valid');
    assert.equal(before.origin, front.directory);
    assert.equal(await handshake(httpsPort, `shop.${DOMAIN}`, 'http/1.1'), 'http/1.1');
  });

  test('what cannot be proved is said in plain words, with the next try', async () => {
    const { machine } = world.gateway;
    await second.kill();
    await world.apply({ publish: { shop: 'web', late: 'web', never: 'web' } });
    const shown = await eventually('the failure', async () => {
      const never = await show(machine, 'never');
      return never.failure !== null && never;
    });
    assert.equal(shown.state, 'waiting');
    assert.equal(shown.failure?.code, 'ACME_UNREACHABLE');
    assert.ok(shown.next !== null && Date.parse(shown.next) > Date.now());
    const status = await machine.ok(['gateway', 'status']);
    assert.match(status.stdout, /CERTIFICATE_MISSING.*moat certs show never\.apps\.test/);
    // Its publisher is told, too.
    const owner = world.machine('owner');
    const told = await eventually('the publisher knows why', async () => {
      const { exitCode, json } = await owner.run(['certs', 'show', 'never']);
      const [one] = (json['published'] ?? []) as { certificate: { state: string; problem: { code: string } | null } }[];
      // What a gateway said may be three seconds old.
      return exitCode === 9 && one?.certificate.problem !== null && one?.certificate;
    });
    assert.deepEqual([told.state, told.problem?.code], ['waiting', 'ACME_UNREACHABLE']);
    const well = await owner.ok(['certs', 'show', `shop.${DOMAIN}`]);
    assert.match(JSON.stringify(well.json['published']), /"state":"valid","issuer":"[^"]*Pebble/);
    const audit = await machine.ok(['audit', '--since', '1h']);
    assert.match(audit.stdout, /certificate\.issued/);
    assert.match(audit.stdout, /certificate\.failed/);
  });
});

test(
  'a gateway that serves its zone has one certificate for all its names',
  { ...(withoutPebble !== undefined && { skip: withoutPebble }) },
  async () => {
    const [https, overlay, link, dns] = await freePorts(4);
    await using pebble = await startPebble({ dnsPort: dns ?? 0 });
    await using machine = await Machine.create('zone');
    const listen = {
      https: `127.0.0.1:${https}`,
      http: 'off',
      overlay: [`/ip4/127.0.0.1/tcp/${overlay}`],
      link: `127.0.0.1:${link}`,
    };
    const acme = { directory: pebble.directory, ca: pebble.trustFile, challenges: ['dns-01'] };
    const zone = { listen: `127.0.0.1:${dns}`, addresses: ['127.0.0.1'] };
    await writeFile(
      machine.path('gateway.yaml'),
      stringify({ version: 1, domain: DOMAIN, listen, tls: { acme }, dns: zone }),
    );
    const daemon = machine.spawn(['gateway', 'run', '--config', machine.path('gateway.yaml')]);
    const shown = await eventually(
      'the wildcard',
      async () => {
        if (!daemon.running) throw new Error(daemon.output);
        const found = await show(machine, `any.${DOMAIN}`);
        return found.state === 'valid' && found;
      },
      60_000,
    );
    assert.deepEqual(shown.names, [`*.${DOMAIN}`, DOMAIN]);
    assert.equal(pebble.issued(), 1);
  },
);
