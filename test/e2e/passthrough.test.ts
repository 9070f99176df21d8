/**
 * End-to-end TLS: a gateway of two workers passes a name on unread, and two members obtain a certificate each, from a real
 * authority, through that gateway.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { connect } from 'node:tls';
import { freePorts } from '@moat/testkit';
import { startPebble, withoutPebble, type Pebble } from '../../packages/acme/test/pebble.ts';
import { Browser } from './browser.ts';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const DOMAIN = 'apps.test';
const HOST = `shop.${DOMAIN}`;

interface Shown {
  readonly issuer: string;
  readonly serial: string;
  readonly alpn: string | false | null;
}

suite('end-to-end TLS through a gateway', { ...(withoutPebble !== undefined && { skip: withoutPebble }) }, () => {
  let pebble: Pebble;
  let world: World;
  let port = 0;
  let web: WebService;

  before(async () => {
    const [https = 0, http = 0, overlay = 0, link = 0] = await freePorts(4);
    port = https;
    pebble = await startPebble({ httpPort: http, tlsPort: https });
    process.env['MOAT_ACME_DIRECTORY'] = pebble.directory;
    process.env['MOAT_ACME_CA'] = pebble.trustFile;
    web = await startWebService('shop');
    world = new World();
    await world.startGateway('open', {
      domain: DOMAIN,
      workers: 2,
      listen: {
        https: `127.0.0.1:${https}`,
        http: `127.0.0.1:${http}`,
        overlay: [`/ip4/127.0.0.1/tcp/${overlay}`],
        link: `127.0.0.1:${link}`,
      },
    });
    const gateway = world.gateway.pin;
    await world.grow({
      name: 'shop',
      members: {
        owner: { keeper: true },
        'web-1': { tags: ['web'], expose: [`${web.port},public`] },
        'web-2': { tags: ['web'], expose: [`${web.port},public`] },
      },
      services: { web: { on: ['tag:web'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
      extraPublish: { shop: { gateway, service: 'web', tls: 'passthrough' } },
    });
  });

  after(async () => {
    delete process.env['MOAT_ACME_DIRECTORY'];
    delete process.env['MOAT_ACME_CA'];
    await world?.[Symbol.asyncDispose]();
    await pebble?.[Symbol.asyncDispose]();
    await web?.[Symbol.asyncDispose]();
  });

  /** What a stranger is shown, or the alert it gets. */
  async function look(servername: string, protocols: string[] = ['h2', 'http/1.1']): Promise<Shown | string> {
    const socket = connect({
      host: '127.0.0.1',
      port,
      servername,
      ALPNProtocols: protocols,
      rejectUnauthorized: false,
    });
    try {
      await once(socket, 'secureConnect');
    } catch (error) {
      return String((error as NodeJS.ErrnoException).code);
    }
    const { issuer, serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return { issuer: String(issuer.CN), serial: serialNumber, alpn: socket.alpnProtocol };
  }

  /** Serials of the authority's certificates that the public is shown; each look may meet either member. */
  async function serials(looks: number): Promise<Set<string>> {
    const shown = await Promise.all(Array.from({ length: looks }, () => look(HOST)));
    return new Set(
      shown.flatMap((each) => (typeof each !== 'string' && each.issuer.includes('Pebble') ? [each.serial] : [])),
    );
  }

  test('each member of a name gets its own certificate through the gateway, which has none', async () => {
    await eventually('a certificate of each member', async () => (await serials(12)).size === 2, 60_000);
    assert.equal(pebble.issued(), 2);
    const shown = (await look(HOST)) as Shown;
    assert.equal(shown.alpn, 'http/1.1');
    const browser = new Browser({ port, ca: await pebble.root() });
    for (let i = 0; i < 4; i++) assert.match((await browser.fetch(HOST)).text, /hello from shop/);
    assert.doesNotMatch(((await look(DOMAIN)) as Shown).issuer, /Pebble/);
  });

  test('the member says which record keeps others out, and whether the public sees what it holds', async () => {
    const at = `127.0.0.1:${port}`;
    // Of two members with a certificate each, some looks in a row may meet the other one.
    const json = await eventually('the public is shown this member’s', async () => {
      const { exitCode, json: shown } = await world.machine('web-1').run(['certs', 'show', HOST, '--at', at]);
      return exitCode === 0 ? shown : undefined;
    });
    assert.deepEqual([json['state'], json['source']], ['valid', 'acme']);
    assert.deepEqual((json['public'] as { result: string }).result, 'same');
    // Pebble names no identity; packages/node/test/certificates-report.test.ts has an authority that does.
    assert.deepEqual(json['caa'], []);
    // Where nothing is shown, or something else, a script is told.
    const other = await world.machine('web-2').run(['certs', 'show', HOST, '--at', '127.0.0.1:1']);
    assert.equal(other.exitCode, 9);
  });

  test('a proof is shown to nobody while no order runs, and another name of the gateway to nobody there', async () => {
    assert.match(JSON.stringify(await look(HOST, ['acme-tls/1'])), /UNRECOGNIZED_NAME|INTERNAL_ERROR/);
    assert.match(JSON.stringify(await look(`nobody.${DOMAIN}`)), /UNRECOGNIZED_NAME/);
  });

  test('a member that comes back has its certificate still', async () => {
    // Twelve looks may all meet the member that has less to do.
    const before = await eventually('both certificates', async () => {
      const shown = await serials(12);
      return shown.size === 2 && shown;
    });
    await world.agent('web-1').kill('SIGKILL');
    await world.restart('web-1');
    await eventually('the same certificates', async () => {
      const after = await serials(12);
      return after.size === 2 && [...after].every((serial) => before.has(serial));
    });
    assert.equal(pebble.issued(), 2);
  });
});
