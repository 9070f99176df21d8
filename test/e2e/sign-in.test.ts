/**
 * Ways in beside passwords, by the real command, gateway and provider: keys of people and machines, OpenID Connect, client
 * certificates.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { eventually, type Machine } from './machine.ts';
import { CLIENT, startProvider, type TestProvider } from './provider.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const CALLBACK = '/.well-known/moat/callback';
const KEYS = 'team.localhost';
const BLOG = 'blog.localhost';
const CREW = 'crew.localhost';
const VAULT = 'vault.localhost';
const PASSWORD = 'correct horse battery';
const HTML = { accept: 'text/html' };

const run = promisify(execFile);
const world = new World();
let web: WebService;
let provider: TestProvider;

before(async () => {
  web = await startWebService('shop');
  // What is good once is good once at both.
  await world.startGateway('open', { workers: 2 });
  provider = await startProvider(`https://${BLOG}:${world.gateway.port}${CALLBACK}`);
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
  });
  const owner = world.machine('owner');
  await owner.ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  await owner.write('client-secret', `${CLIENT.secret}\n`);
  owner.env['MOAT_CA_FILE'] = await owner.write('ca.pem', world.gateway.browser.tls('x').ca);
  await makeCertificates(owner);
  const line = await owner.ok(['password', 'ana', '--password-file', '-'], `${PASSWORD}\n`);
  await owner.write('users', `${String(line.json['line'])}\n`);
  await publish(['owners', 'owner']);
  await eventually('published', async () => (await statusOf(KEYS)) === 401 && (await statusOf(BLOG)) === 401);
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await provider?.[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

async function publish(keys: readonly string[]): Promise<void> {
  const said = await world.gateway.browser.fetch('localhost', { path: '/.well-known/moat' });
  const gateway = JSON.parse(said.text) as object;
  const { issuer } = provider;
  const oidc = { issuer, client: CLIENT.id, secret: { file: './client-secret' }, domains: ['shop.example'] };
  await world.apply({
    extraPublish: {
      team: { service: 'web', gateway, auth: { keys } },
      blog: { service: 'web', gateway, auth: { oidc } },
      crew: { service: 'web', gateway, auth: { mtls: { ca: './staff.pem' } } },
      vault: { service: 'web', gateway, enforce: 'member', auth: { basic: { file: './users' }, keys } },
    },
  });
}

async function statusOf(host: string, headers: Record<string, string> = {}): Promise<number> {
  return (await world.gateway.browser.fetch(host, { headers })).status;
}

/** Asks as a browser does, which names the port. */
function browse(path: string, cookie = ''): ReturnType<World['gateway']['browser']['fetch']> {
  const host = `${BLOG}:${world.gateway.port}`;
  return world.gateway.browser.fetch(BLOG, { path, headers: { ...HTML, host, cookie } });
}

const cookieOf = (fields: string[] | undefined, name: string): string =>
  fields?.find((field) => field.startsWith(`__Host-moat-${name}=`))?.split(';', 1)[0] ?? '';

function serviceSaw(wanted: string): string | undefined {
  const at = web.lastFields.findIndex((field, index) => index % 2 === 0 && field.toLowerCase() === wanted);
  return at === -1 ? undefined : web.lastFields[at + 1];
}

/** The status that curl sees, or undefined where there is no curl. */
async function curl(t: TestContext, host: string, flags: readonly string[]): Promise<string | undefined> {
  const caFile = world.machine('owner').path('ca.pem');
  const common = ['-so', '/dev/null', '--cacert', caFile, '--resolve', `${host}:127.0.0.1`, '-w', '%{http_code}'];
  try {
    return (await run('curl', [...common, ...flags, `https://${host}/`])).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    t.skip('curl is not installed');
    return undefined;
  }
}

/** `phone.p12` and `ana.pem` are signed by `staff.pem`, `other.p12` by another authority, `eve.pem` by herself. */
async function makeCertificates(owner: Machine): Promise<void> {
  for (const [name, ca] of [
    ['phone', 'staff.pem'],
    ['other', 'other-ca.pem'],
  ] as const) {
    const flags = ['--ca', ca, '--days', '1', '--password-file', '-'];
    await owner.ok(['certs', 'client', name, ...flags], `${PASSWORD}\n`);
  }
  const { home: cwd } = owner;
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const own = [...key, '-keyout', 'eve.key', '-out', 'eve.pem', '-subj', '/CN=eve', '-days', '2'];
  await run('openssl', ['req', '-x509', ...own], { cwd });
  await run('openssl', ['req', ...key, '-keyout', 'ana.key', '-out', 'ana.csr', '-subj', '/CN=ana'], { cwd });
  const signed = ['-CA', 'staff.pem', '-CAkey', 'staff.key', '-CAcreateserial', '-days', '1', '-out', 'ana.pem'];
  await run('openssl', ['x509', '-req', '-in', 'ana.csr', ...signed], { cwd });
}

test('an owner and a machine sign in with nothing but their keys', async () => {
  const owner = world.machine('owner');
  const host = `${KEYS}:${world.gateway.port}`;
  const users: unknown[] = [];
  for (const flags of [[], ['--machine']]) {
    const { json } = await owner.ok(['sign-in', host, ...flags]);
    users.push(json['user']);
    assert.equal(await statusOf(KEYS, { cookie: String(json['cookie']) }), 200);
    assert.equal(serviceSaw('x-forwarded-user'), encodeURIComponent(String(json['user'])));
    assert.equal(serviceSaw('cookie'), undefined);
    const url = new URL(String(json['url']));
    assert.equal(url.host, host);
    const path = url.pathname + url.search;
    const page = await world.gateway.browser.fetch(KEYS, { path });
    assert.match(page.text, /<form method="post"/);
    // Both workers are asked at once, and one browser gets in.
    const pushed = { method: 'POST', path, headers: { host, origin: `https://${host}` } };
    const answers = await Promise.all(Array.from({ length: 8 }, () => world.gateway.browser.fetch(KEYS, pushed)));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [303, ...Array<number>(7).fill(400)]);
    const opened = answers.find(({ status }) => status === 303);
    assert.equal(await statusOf(KEYS, { cookie: cookieOf(opened?.headers['set-cookie'], 'session') }), 200);
  }
  assert.equal(new Set(users).size, 2);
  assert.equal((await owner.run(['sign-in', `${BLOG}:${world.gateway.port}`])).json['code'], 'SIGN_IN_NOT_OFFERED');
  await owner.ok(['key', 'new', '--key', 'stranger.key']);
  const refused = await owner.run(['sign-in', host, '--key', 'stranger.key']);
  assert.equal(refused.json['code'], 'SIGN_IN_REFUSED');
});

test('where members ask too they are shown passwords and signatures, and the service is not', async () => {
  const owner = world.machine('owner');
  const host = `${VAULT}:${world.gateway.port}`;
  assert.equal(await statusOf(VAULT), 401);
  const authorization = `Basic ${Buffer.from(`ana:${PASSWORD}`).toString('base64')}`;
  assert.equal(await statusOf(VAULT, { authorization: `${authorization}x` }), 401);
  assert.equal(await statusOf(VAULT, { authorization, 'x-forwarded-user': 'root' }), 200);
  assert.equal(serviceSaw('x-forwarded-user'), 'ana');
  assert.equal(serviceSaw('authorization'), undefined);
  for (const flags of [[], ['--machine']]) {
    const { json } = await owner.ok(['sign-in', host, ...flags]);
    assert.equal(await statusOf(VAULT, { cookie: `theme=dark; ${String(json['cookie'])}` }), 200);
    assert.equal(serviceSaw('x-forwarded-user'), encodeURIComponent(String(json['user'])));
    assert.deepEqual([serviceSaw('cookie'), serviceSaw('x-moat-proof')], ['theme=dark', undefined]);
  }
});

test('curl comes in with a client certificate of its authorities alone', async (t) => {
  const owner = world.machine('owner');
  const host = `${CREW}:${world.gateway.port}`;
  for (const [who, status] of [
    ['ana', '200'],
    ['eve', '403'],
    [undefined, '403'],
  ] as const) {
    const shown = who === undefined ? [] : ['--cert', owner.path(`${who}.pem`), '--key', owner.path(`${who}.key`)];
    for (const protocol of ['--http1.1', '--http2']) {
      const said = await curl(t, host, [protocol, ...shown]);
      if (said !== undefined) assert.equal(said, status, `${who} ${protocol}`);
    }
    if (who === 'ana') assert.equal(serviceSaw('x-forwarded-user'), 'ana');
  }
});

test('curl comes in with the file that the command wrote for phones, and with that of no other authority', async (t) => {
  const owner = world.machine('owner');
  const host = `${CREW}:${world.gateway.port}`;
  // curl takes the password from a file of its own options, as people should.
  const options = await owner.write('curl-options', `pass = "${PASSWORD}"\n`);
  for (const [who, status] of [
    ['phone', '200'],
    ['other', '403'],
  ] as const) {
    const shown = ['--config', options, '--cert-type', 'P12', '--cert', owner.path(`${who}.p12`)];
    const said = await curl(t, host, shown);
    if (said === undefined) return;
    assert.equal(said, status, who);
    if (who === 'phone') assert.equal(serviceSaw('x-forwarded-user'), 'phone');
  }
  assert.equal(await curl(t, host, []), '403');
});

test('curl comes in with the cookie that the command printed', async (t) => {
  const owner = world.machine('owner');
  const host = `${KEYS}:${world.gateway.port}`;
  const { json } = await owner.ok(['sign-in', host, '--cookie']);
  const said = await curl(t, host, ['--cookie', String(json['cookie'])]);
  if (said !== undefined) assert.equal(said, '200');
});

test('a login at the provider opens the page that was wanted, for verified addresses that are named', async () => {
  assert.equal(await statusOf(BLOG, { accept: 'application/json' }), 401, 'a program is not sent away');
  const begun = await browse('/hello?x=1');
  assert.equal(begun.status, 303);
  const login = cookieOf(begun.headers['set-cookie'], 'login');
  const sent = String(begun.headers.location);
  assert.ok(sent.startsWith(`${provider.issuer}/auth?`), sent);
  const back = await provider.signIn(sent, 'ana@shop.example');
  const path = back.pathname + back.search;
  assert.equal((await browse(path)).status, 400, 'another browser has no login open');
  back.searchParams.set('state', 'forged');
  assert.equal((await browse(back.pathname + back.search, login)).status, 400, 'a forged state');
  const done = await browse(path, login);
  assert.equal(done.status, 303, done.text);
  assert.equal(done.headers.location, '/hello?x=1');
  const session = cookieOf(done.headers['set-cookie'], 'session');
  assert.equal((await browse('/', `${session}; ${login}; theme=dark`)).status, 200);
  assert.equal(serviceSaw('x-forwarded-user'), encodeURIComponent('ana@shop.example'));
  assert.equal(serviceSaw('cookie'), 'theme=dark');
  assert.equal(await statusOf(KEYS, { cookie: session }), 401, 'good under its name alone');
  assert.equal((await browse(path, login)).status, 400, 'a code is good once');
});

test('an address of others, or one that was never verified, signs nobody in', async () => {
  for (const who of ['eve@evil.example', 'unverified@shop.example']) {
    const begun = await browse('//evil.example/');
    const back = await provider.signIn(String(begun.headers.location), who);
    const answer = await browse(back.pathname + back.search, cookieOf(begun.headers['set-cookie'], 'login'));
    assert.equal(answer.status, 403, who);
    assert.equal(answer.headers['set-cookie'], undefined);
    assert.match(answer.text, /SIGN_IN_REFUSED/);
  }
});

test('a key that is taken out of the file is asked anew', async () => {
  const owner = world.machine('owner');
  const host = `${KEYS}:${world.gateway.port}`;
  const { json } = await owner.ok(['sign-in', host, '--machine']);
  const cookie = String(json['cookie']);
  assert.equal(await statusOf(KEYS, { cookie }), 200);
  const vault = `${VAULT}:${world.gateway.port}`;
  const held = String((await owner.ok(['sign-in', vault, '--machine'])).json['cookie']);
  assert.equal(await statusOf(VAULT, { cookie: held }), 200);
  await publish(['owners']);
  await eventually('its session is over', async () => (await statusOf(KEYS, { cookie })) === 401);
  assert.equal(await statusOf(VAULT, { cookie: held }), 401);
  assert.equal((await owner.run(['sign-in', host, '--machine'])).json['code'], 'SIGN_IN_REFUSED');
  await owner.ok(['sign-in', host]);
});
