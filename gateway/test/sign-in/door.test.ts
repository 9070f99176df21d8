/** Sign-in with a key at the edge: a question, its signature, and what a session then opens. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { test } from 'node:test';
import {
  SIGN_IN_LASTS_MS,
  SIGN_IN_PROOF_FIELD,
  createSignIn,
  formatSignInProof,
  type SignedSignIn,
} from '@moat/contract';
import { createOwnerKey, type OwnerKeyPair } from '@moat/identity';
import { createManualClock } from '@moat/testkit';
import type { EdgeAuth } from '../../src/publications/edge-rules.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { recording, type Seen } from '../member.ts';

const PATH = '/.well-known/moat/sign-in';
/** As a browser sends it with a form of a page of this host. */
const OWN = { origin: `https://${HOST}` };
const ana = createOwnerKey();
const stranger = createOwnerKey();

function waysOf(keys: readonly OwnerKeyPair[], mark = 'one'): EdgeAuth {
  return { kind: 'ways', deployment: 'd', mark, keys: keys.map(({ key }) => key) };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

interface Asked {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

async function ask(edge: EdgeUnderTest, path: string, { headers, body }: Asked = {}): Promise<Answer> {
  const sent = httpsRequest({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    servername: HOST,
    ca: edge.ca,
    agent: false,
    path,
    method: body === undefined ? 'GET' : 'POST',
    headers: { host: HOST, ...headers },
  });
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  sent.end(body);
  const [response] = await answered;
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(chunks).toString('utf8') };
}

function published(edge: EdgeUnderTest, auth: EdgeAuth): Seen[] {
  const seen: Seen[] = [];
  edge.links.add('m1', recording(seen));
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'], auth });
  return seen;
}

async function question(edge: EdgeUnderTest): Promise<string> {
  const { text } = await ask(edge, PATH, { headers: { accept: 'application/json' } });
  const { host, nonce } = JSON.parse(text) as { readonly host: string; readonly nonce: string };
  assert.equal(host, HOST);
  return nonce;
}

function answer(edge: EdgeUnderTest, signed: SignedSignIn): Promise<Answer> {
  return ask(edge, PATH, { body: JSON.stringify(signed), headers: { accept: 'application/json' } });
}

function codeOf({ text }: Answer): string {
  return (JSON.parse(text) as { readonly error: { readonly code: string } }).error.code;
}

test('a key that may come in gets a session, which no service sees', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = published(edge, waysOf([ana]));
  const refused = await ask(edge, '/', { headers: { accept: 'application/json' } });
  assert.equal(refused.status, 401);
  assert.equal(refused.headers['www-authenticate'], `Moat realm="${HOST}"`);
  const page = await ask(edge, PATH, { headers: { accept: 'text/html' } });
  assert.match(page.text, /moat sign-in shop\.localhost/);

  const nonce = await question(edge);
  const pushed = JSON.stringify(createSignIn({ host: HOST, nonce }, ana.signer));
  const headers = { accept: 'application/json', origin: 'https://evil.example', 'content-type': 'text/plain' };
  assert.equal(codeOf(await ask(edge, PATH, { body: pushed, headers })), 'SIGN_IN_REFUSED', 'a page of another site');
  const done = await answer(edge, createSignIn({ host: HOST, nonce }, ana.signer));
  assert.equal(done.status, 200, done.text);
  const { user, cookie, url } = JSON.parse(done.text) as { user: string; cookie: string; url: string };
  assert.equal(user, ana.key);
  assert.match(String(done.headers['set-cookie']), /^__Host-moat-session=.*; Path=\/; Secure; HttpOnly; SameSite=Lax/);
  assert.equal(seen.length, 0);

  const spoofed = { 'x-forwarded-user': 'root', 'x-forwarded-client-cert': 'Hash=1', authorization: 'Bearer own' };
  const served = await ask(edge, '/page', { headers: { cookie: `a=b; ${cookie}; c=d`, ...spoofed } });
  assert.equal(served.status, 200);
  const fields = seen[0]?.fields ?? [];
  const valuesOf = (wanted: string): string[] => fields.filter(([name]) => name === wanted).map(([, value]) => value);
  assert.deepEqual(valuesOf('x-forwarded-user'), [encodeURIComponent(ana.key)]);
  assert.deepEqual(valuesOf('x-forwarded-client-cert'), []);
  assert.deepEqual(valuesOf('cookie'), ['a=b; c=d']);
  assert.deepEqual(valuesOf('authorization'), ['Bearer own'], 'it was not for the gateway');

  const ticket = new URL(url).pathname + new URL(url).search;
  const page2 = await ask(edge, ticket);
  assert.equal(page2.status, 200);
  assert.match(page2.text, new RegExp(`as <code>${ana.key}</code>`), 'whoever opens it is told as whom');
  assert.equal(page2.headers['set-cookie'], undefined);
  const elsewhere = await ask(edge, ticket, { body: '', headers: { origin: 'https://evil.example' } });
  assert.equal(elsewhere.status, 405, 'another site cannot push the button');
  const opened = await ask(edge, ticket, { body: '', headers: OWN });
  assert.equal(opened.status, 303);
  assert.equal(opened.headers.location, '/');
  const browsers = String(opened.headers['set-cookie']).split(';')[0] ?? '';
  assert.equal((await ask(edge, '/', { headers: { cookie: browsers } })).status, 200);
  const again = await ask(edge, ticket, { body: '', headers: OWN });
  assert.equal(again.status, 400, 'a ticket is good once');
});

test('only the button of its own page signs a browser out', async () => {
  await using edge = await EdgeUnderTest.start();
  published(edge, waysOf([ana]));
  const out = '/.well-known/moat/sign-out';
  const page = await ask(edge, out);
  assert.equal(page.status, 200);
  assert.match(page.text, /<form method="post" action="\/\.well-known\/moat\/sign-out"><button>/);
  assert.equal(page.headers['set-cookie'], undefined);
  assert.match(String(page.headers['content-security-policy']), /frame-ancestors 'none'/);
  for (const origin of ['https://evil.example', 'null', `http://${HOST}`]) {
    const refused = await ask(edge, out, { body: '', headers: { origin } });
    assert.deepEqual([refused.status, refused.headers['set-cookie']], [405, undefined], origin);
  }
  assert.equal((await ask(edge, out, { body: '' })).status, 405);
  const done = await ask(edge, out, { body: '', headers: OWN });
  assert.match(String(done.headers['set-cookie']), /^__Host-moat-session=; .*Max-Age=0/);
});

test('where members ask too they get what the visitor showed, and nobody else does', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = published(edge, { ...waysOf([ana]), enforce: 'member' } as EdgeAuth);
  const said = await ask(edge, PATH, { headers: { accept: 'application/json' } });
  const { nonce, lastsMs } = JSON.parse(said.text) as { readonly nonce: string; readonly lastsMs: number };
  assert.equal(lastsMs, SIGN_IN_LASTS_MS);
  const timeless = await answer(edge, createSignIn({ host: HOST, nonce }, ana.signer));
  assert.deepEqual([timeless.status, codeOf(timeless)], [403, 'SIGN_IN_REFUSED']);
  const until = `${new Date(Date.now() + lastsMs).toISOString().slice(0, 19)}Z`;
  const signed = createSignIn({ host: HOST, nonce, until }, ana.signer);
  const done = await answer(edge, signed);
  assert.equal(done.status, 200, done.text);
  const { cookie, url } = JSON.parse(done.text) as { cookie: string; url: string };
  assert.equal(cookie, `__Host-moat-session=${formatSignInProof(signed)}`);
  const ticket = new URL(url).pathname + new URL(url).search;
  const opened = await ask(edge, ticket, { body: '', headers: OWN });
  assert.equal(String(opened.headers['set-cookie']).split(';', 1)[0], cookie);
  const lie = { [SIGN_IN_PROOF_FIELD]: 'mine', authorization: 'Bearer own' };
  assert.equal((await ask(edge, '/', { headers: lie })).status, 401);
  assert.equal((await ask(edge, '/', { headers: { ...lie, cookie } })).status, 200);
  const shown = seen[0]?.fields.filter(([name]) => [SIGN_IN_PROOF_FIELD, 'authorization', 'cookie'].includes(name));
  assert.deepEqual(shown, [
    ['authorization', 'Bearer own'],
    [SIGN_IN_PROOF_FIELD, formatSignInProof(signed)],
  ]);
  published(edge, waysOf([ana]));
  assert.equal((await ask(edge, '/', { headers: { cookie } })).status, 401, 'no session where the gateway asks alone');
});

test('another key, name, question or signature signs nobody in, and no answer does twice', async () => {
  await using edge = await EdgeUnderTest.start();
  published(edge, waysOf([ana]));
  const nonce = await question(edge);
  const right = createSignIn({ host: HOST, nonce }, ana.signer);
  const other = createSignIn({ host: 'blog.localhost', nonce }, ana.signer);
  const cases: readonly (readonly [string, SignedSignIn, number, string])[] = [
    ['another key', createSignIn({ host: HOST, nonce }, stranger.signer), 403, 'SIGN_IN_REFUSED'],
    ['another name', other, 403, 'SIGN_IN_REFUSED'],
    ['a moved signature', { ...right, signature: other.signature }, 403, 'SIGN_IN_REFUSED'],
    ['a question of its own', createSignIn({ host: HOST, nonce: 'A'.repeat(46) }, ana.signer), 400, 'SIGN_IN_EXPIRED'],
  ];
  for (const [what, signed, status, code] of cases) {
    const said = await answer(edge, signed);
    assert.deepEqual([said.status, codeOf(said)], [status, code], what);
    assert.equal(said.headers['set-cookie'], undefined, what);
  }
  assert.equal((await answer(edge, right)).status, 200, 'what others tried used nothing up');
  assert.equal(codeOf(await answer(edge, right)), 'SIGN_IN_EXPIRED');
  for (const body of ['', '{', '{}', 'x'.repeat(5_000)]) {
    const said = await ask(edge, PATH, { body, headers: { accept: 'application/json' } });
    assert.equal(said.status, body.length > 4_096 ? 413 : 400, body.slice(0, 10));
  }
});

test('a key that was taken out is asked anew, and false answers are so many an hour', async () => {
  const clock = createManualClock();
  await using edge = await EdgeUnderTest.start({ clock });
  published(edge, waysOf([ana, stranger]));
  const nonce = await question(edge);
  const done = await answer(edge, createSignIn({ host: HOST, nonce }, stranger.signer));
  const { cookie } = JSON.parse(done.text) as { cookie: string };
  assert.equal((await ask(edge, '/', { headers: { cookie } })).status, 200);
  published(edge, waysOf([ana], 'two'));
  assert.equal((await ask(edge, '/', { headers: { cookie } })).status, 401);

  const late = await question(edge);
  clock.advance(120_001);
  assert.equal(codeOf(await answer(edge, createSignIn({ host: HOST, nonce: late }, ana.signer))), 'SIGN_IN_EXPIRED');
  const false1 = createSignIn({ host: HOST, nonce: late }, stranger.signer);
  const codes = new Set<string>();
  for (let i = 0; i < 61; i++) codes.add(codeOf(await answer(edge, false1)));
  assert.deepEqual([...codes], ['SIGN_IN_REFUSED', 'RATE_LIMITED']);
  clock.advance(3_600_000);
  const fresh = await question(edge);
  const fine = await answer(edge, createSignIn({ host: HOST, nonce: fresh }, ana.signer));
  assert.equal(fine.status, 200);
  const { cookie: kept } = JSON.parse(fine.text) as { cookie: string };
  clock.advance(12 * 3_600_000);
  assert.equal((await ask(edge, '/', { headers: { cookie: kept } })).status, 401, 'a session ends');
});

test('over HTTP/2 too, with cookies in pieces', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen = published(edge, waysOf([ana]));
  const socket = await edge.connect(HOST, ['h2']);
  const session = connectHttp2(`https://${HOST}`, { createConnection: () => socket });
  const send = (head: Record<string, string | string[]>, body?: string): Promise<{ status: unknown; text: string }> =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ':authority': HOST, accept: 'application/json', ...head });
      let status: unknown;
      let text = '';
      stream.setEncoding('utf8');
      stream.on('response', (fields) => (status = fields[':status']));
      stream.on('data', (chunk: string) => (text += chunk));
      stream.on('end', () => resolve({ status, text }));
      stream.on('error', reject);
      stream.end(body);
    });
  const asked = await send({ ':path': PATH });
  const { nonce } = JSON.parse(asked.text) as { nonce: string };
  const signed = JSON.stringify(createSignIn({ host: HOST, nonce }, ana.signer));
  const done = await send({ ':path': PATH, ':method': 'POST' }, signed);
  assert.equal(done.status, 200, done.text);
  const { cookie } = JSON.parse(done.text) as { cookie: string };
  assert.equal((await send({ ':path': '/', cookie: ['theme=dark', cookie] })).status, 200);
  const cookies = seen.flatMap(({ fields }) => fields.filter(([name]) => name === 'cookie').map(([, value]) => value));
  assert.deepEqual(cookies, ['theme=dark']);
  session.close();
});

test('where keys are no way in, its pages are the service’s', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  edge.links.add('m1', recording(seen));
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'] });
  assert.equal((await ask(edge, PATH)).status, 200);
  assert.equal(seen[0]?.target, PATH);
});
