/**
 * A host of one's own, end to end: published, refused until the DNS says whose it is, then served. The DNS is the name
 * server of a second gateway, whose domain the host lies in.
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { createGatewayClient } from '@moat/admin-api';
import { stringify } from 'yaml';
import { freePort } from '@moat/testkit';
import { Machine, READY_MS, eventually, type Daemon } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const HOST = 'www.shop.test';
const noDig = spawnSync('dig', ['-v']).error === undefined ? false : 'dig (bind9-dnsutils) is not installed';
const world = new World();
let web: WebService;
let zone: Machine;
let server: Daemon | undefined;
let dnsPort = 0;
let deployment = '';

/** Starts the second gateway, with further texts in its zone. */
async function serveZone(txt: Readonly<Record<string, string>>): Promise<void> {
  await server?.kill('SIGTERM');
  const [https, overlay, link] = await Promise.all([freePort(), freePort(), freePort()]);
  await zone.write(
    'gateway.yaml',
    stringify({
      version: 1,
      domain: 'shop.test',
      tls: 'local',
      listen: {
        https: `127.0.0.1:${https}`,
        http: 'off',
        overlay: [`/ip4/127.0.0.1/tcp/${overlay}`],
        link: `127.0.0.1:${link}`,
      },
      dns: { listen: `127.0.0.1:${dnsPort}`, addresses: ['127.0.0.1'], txt },
    }),
  );
  const daemon = zone.spawn(['gateway', 'run', '--config', zone.path('gateway.yaml')]);
  server = daemon;
  const client = createGatewayClient({ socketPath: zone.path('state', 'gateway', 'gateway.sock') });
  await eventually(
    'name server ready',
    async () => {
      if (!daemon.running) throw new Error(`gateway exited:\n${daemon.output}`);
      return client.status();
    },
    READY_MS,
  );
}

async function curl(path: string): Promise<string> {
  const { port } = world.gateway;
  // The local authority is for the gateway's own domain alone, so its certificate for another host proves nothing.
  const flags = ['--silent', '--insecure', '--max-time', '5', '--resolve', `${HOST}:${port}:127.0.0.1`];
  return (await promisify(execFile)('curl', [...flags, `https://${HOST}:${port}${path}`])).stdout;
}

before(async () => {
  web = await startWebService('shop');
  dnsPort = await freePort();
  zone = await Machine.create('zone');
  await Promise.all([serveZone({}), world.startGateway('open', { dns: { resolvers: [`127.0.0.1:${dnsPort}`] } })]);
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
  });
  await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  for (const { id } of await world.client('owner').deployments()) deployment = id;
});

after(async () => {
  await zone?.[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

test('without its record the host is refused, with the record to create; nothing is served', async () => {
  const owner = world.machine('owner');
  await world.writeFile({ publish: { [HOST]: 'web' } });
  const refused = await owner.run(['apply', '--yes', '--wait']);
  assert.equal(refused.json['code'], 'PROOF_MISSING', refused.stderr);
  assert.equal(refused.exitCode, 4);
  const record = `_moat.${HOST}. TXT "moat-deployment=${deployment}"`;
  assert.ok(refused.stderr.includes(JSON.stringify(record).slice(1, -1)), refused.stderr);
  const names = await owner.ok(['names']);
  const [name] = names.json['names'] as { proof: unknown; state: string }[];
  assert.deepEqual(name?.proof, {
    record: `_moat.${HOST}`,
    value: `moat-deployment=${deployment}`,
    state: 'missing',
  });
  await assert.rejects(curl('/'), 'no handshake');
});

test('names check finds what is missing, and what the name server says', async () => {
  const owner = world.machine('owner');
  const checked = await owner.run(['names', 'check', HOST, '--resolver', `127.0.0.1:${dnsPort}`]);
  assert.equal(checked.exitCode, 9, checked.stderr);
  const findings = checked.json['findings'] as { what: string; ok: boolean | null; text: string }[];
  assert.deepEqual(findings[0], {
    what: 'proof',
    ok: false,
    text: `there is no proof at _moat.${HOST}`,
    next: [`create the record  _moat.${HOST}. TXT "moat-deployment=${deployment}"`],
  });
  assert.equal(findings.at(-1)?.ok, false);
});

test('once the record is there the host is served by itself, and names says it is proven', async () => {
  const owner = world.machine('owner');
  await serveZone({ '_moat.www': `moat-deployment=${deployment}` });
  await eventually('the host is live', async () => (await curl('/hello')).length > 0, 60_000);
  assert.ok(web.lastFields.includes(`${HOST}:${world.gateway.port}`), 'the service sees its own host');
  const [name] = (await owner.ok(['names'])).json['names'] as { proof: { state: string }; state: string }[];
  assert.deepEqual([name?.state, name?.proof.state], ['live', 'proven']);
  const checked = await owner.run(['names', 'check', HOST, '--resolver', `127.0.0.1:${dnsPort}`]);
  const findings = checked.json['findings'] as { what: string; ok: boolean | null }[];
  assert.equal(findings[0]?.ok, true, checked.stdout);
  const listed = await world.gateway.machine.ok(['gateway', 'names']);
  assert.deepEqual(
    (listed.json['names'] as { name: string }[]).map((each) => each.name),
    [HOST],
  );
});

test('dig gets the zone from the gateway’s own process', { skip: noDig }, async () => {
  const dig = async (...asked: readonly string[]): Promise<string> =>
    (await promisify(execFile)('dig', ['@127.0.0.1', '-p', String(dnsPort), '+short', '+tries=1', ...asked])).stdout;
  for (const way of ['+notcp', '+tcp']) {
    assert.equal(await dig(way, HOST, 'A'), '127.0.0.1\n');
    assert.equal(await dig(way, `_moat.${HOST}`, 'TXT'), `"moat-deployment=${deployment}"\n`);
    assert.match(await dig(way, 'shop.test', 'SOA'), /^ns\.shop\.test\. hostmaster\.shop\.test\. \d+ /);
  }
});

test('a crash of the gateway and silent name servers change nothing: what was proven stays so', async () => {
  await server?.kill('SIGKILL');
  await world.gateway.daemon.kill('SIGKILL');
  await world.restartGateway();
  await eventually('the host is live again', async () => (await curl('/hello')).length > 0, 30_000);
  const listed = await world.gateway.machine.ok(['gateway', 'names']);
  const [name] = listed.json['names'] as { host: string; proof: { goneSince: string | null } | null }[];
  assert.deepEqual([name?.host, name?.proof?.goneSince], [HOST, null]);
});

test('a host that is given up is nobody’s at once', async () => {
  const owner = world.machine('owner');
  await owner.ok(['names', 'release', HOST]);
  await assert.rejects(curl('/'), 'no handshake');
  const listed = await world.gateway.machine.ok(['gateway', 'names']);
  assert.deepEqual(listed.json['names'], []);
  const names = await owner.ok(['names']);
  assert.match(names.stdout, /NAME_GIVEN/);
});
