/** A provider that lies, is another one, or is not there: nobody comes in by it. The honest one is in test/e2e/sign-in.test.ts. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { systemClock, type Clock } from '@moat/core';
import type { EdgeAuth } from '../../src/publications/edge-rules.ts';
import { fetchIssuer, isPublicAddress } from '../../src/sign-in/issuer-fetch.ts';
import { localPath } from '../../src/sign-in/login-cookie.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { recording, type Seen } from '../member.ts';

const CALLBACK = '/.well-known/moat/callback';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** What an ID token says, and how it is made. */
interface Lie {
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly key?: typeof privateKey;
  readonly algorithm?: string;
}

/** Answers every code with a token of its own making. */
class LyingProvider implements AsyncDisposable {
  readonly #server: Server;
  issuer = '';
  nonce = '';
  lie: Lie = {};
  isDown = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<LyingProvider> {
    const server = createServer();
    const provider = new LyingProvider(server);
    server.on('request', ({ url }, response) => {
      if (provider.isDown) return response.destroy();
      response.setHeader('content-type', 'application/json');
      return response.end(JSON.stringify(provider.#answer(url ?? '')));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    provider.issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return provider;
  }

  #answer(path: string): object {
    const { issuer } = this;
    if (path === '/jwks') return { keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] };
    if (path === '/token') return { access_token: 'a', token_type: 'bearer', id_token: this.#token() };
    return {
      issuer,
      authorization_endpoint: `${issuer}/auth`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    };
  }

  #token(): string {
    const nowS = Math.floor(Date.now() / 1_000);
    const { claims, key = privateKey, algorithm = 'ES256' } = this.lie;
    const said = { iss: this.issuer, aud: 'shop', sub: '1', email: 'ana@shop.example', email_verified: true };
    const all = { ...said, iat: nowS, exp: nowS + 60, nonce: this.nonce, ...claims };
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${encode({ alg: algorithm })}.${encode(all)}`;
    const mac = algorithm === 'none' ? '' : sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
    return `${text}.${mac.toString('base64url')}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function published(edge: EdgeUnderTest, issuer: string, mark = 'one'): Seen[] {
  const seen: Seen[] = [];
  edge.links.add('m1', recording(seen));
  const oidc = { issuer, clientId: 'shop', secret: 's', emailDomains: ['shop.example'] };
  const auth: EdgeAuth = { kind: 'ways', deployment: 'd', mark, oidc };
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'], auth });
  return seen;
}

async function browse(edge: EdgeUnderTest, path: string, cookie = ''): Promise<IncomingMessage> {
  const sent = httpsRequest({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    servername: HOST,
    ca: edge.ca,
    agent: false,
    path,
    headers: { host: HOST, accept: 'text/html', cookie },
  });
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  sent.end();
  const [response] = await answered;
  return response.resume();
}

const cookieOf = ({ headers }: IncomingMessage): string => headers['set-cookie']?.[0]?.split(';', 1)[0] ?? '';

/** Begins a login; what its provider would send the browser back to. */
async function begin(edge: EdgeUnderTest, provider: LyingProvider): Promise<{ path: string; cookie: string }> {
  const begun = await browse(edge, '/');
  assert.equal(begun.statusCode, 303);
  const { searchParams } = new URL(begun.headers.location ?? '');
  provider.nonce = searchParams.get('nonce') ?? '';
  assert.equal(searchParams.get('code_challenge_method'), 'S256');
  assert.equal(searchParams.get('redirect_uri'), `https://${HOST}${CALLBACK}`);
  return { path: `${CALLBACK}?code=c&state=${searchParams.get('state')}`, cookie: cookieOf(begun) };
}

test('only a token of this provider, for this client and this login, signs somebody in', async () => {
  await using edge = await EdgeUnderTest.start();
  await using provider = await LyingProvider.start();
  const seen = published(edge, provider.issuer);
  const nowS = Math.floor(Date.now() / 1_000);
  const lies: readonly (readonly [string, Lie, number])[] = [
    ['another nonce', { claims: { nonce: 'another' } }, 400],
    ['another issuer', { claims: { iss: 'https://evil.example' } }, 400],
    ['another client', { claims: { aud: 'blog' } }, 400],
    ['over', { claims: { iat: nowS - 7_200, exp: nowS - 3_600 } }, 400],
    ['another key', { key: other.privateKey }, 400],
    ['unsigned', { algorithm: 'none' }, 400],
    ['an address that is not verified', { claims: { email_verified: 'true' } }, 403],
    ['another domain', { claims: { email: 'ana@shop.example.evil.example' } }, 403],
    ['two in one', { claims: { email: 'eve@evil.example@shop.example ' } }, 403],
  ];
  for (const [what, lie, status] of lies) {
    provider.lie = lie;
    const { path, cookie } = await begin(edge, provider);
    const answer = await browse(edge, path, cookie);
    assert.equal(answer.statusCode, status, what);
    assert.equal(answer.headers['set-cookie'], undefined, what);
  }
  provider.lie = { claims: { email: 'Ana@Shop.Example' } };
  const { path, cookie } = await begin(edge, provider);
  assert.equal((await browse(edge, path.replace('state=', 'state=x'), cookie)).statusCode, 400, 'a forged state');
  assert.equal((await browse(edge, path, `${cookie}x`)).statusCode, 400, 'a forged cookie');
  const done = await browse(edge, path, cookie);
  assert.equal(done.statusCode, 303);
  assert.deepEqual(seen, []);
  assert.equal((await browse(edge, '/', cookieOf(done))).statusCode, 200);
  const reasons = edge.log.flatMap((line) => (line.message === 'sign-in at a provider failed' ? [line['reason']] : []));
  assert.ok(
    reasons.includes('OAUTH_JWT_CLAIM_COMPARISON_FAILED') && reasons.includes('SIGN_IN_REFUSED'),
    String(reasons),
  );
  published(edge, provider.issuer, 'two');
  assert.equal((await browse(edge, path, cookie)).statusCode, 400, 'a login begun for other people');
  assert.equal((await browse(edge, '/', cookieOf(done))).statusCode, 303, 'and its session');
});

test('a provider that is down is 503, and asked again in time', async () => {
  let aheadMs = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  await using edge = await EdgeUnderTest.start({ clock });
  await using provider = await LyingProvider.start();
  published(edge, provider.issuer);
  provider.isDown = true;
  const refused = await browse(edge, '/');
  assert.equal(refused.statusCode, 503);
  assert.ok(refused.headers['retry-after']);
  provider.isDown = false;
  assert.equal((await browse(edge, '/')).statusCode, 503, 'not with every request');
  aheadMs = 10_001;
  const { path, cookie } = await begin(edge, provider);
  provider.isDown = true;
  assert.equal((await browse(edge, path, cookie)).statusCode, 503);
  assert.ok(edge.log.some((line) => line['code'] === 'ISSUER_UNREACHABLE'));
  aheadMs += 600_000;
  assert.equal((await browse(edge, path, cookie)).statusCode, 400, 'a login lasts ten minutes');
});

test('a publisher’s provider is asked at public addresses only', async () => {
  await using provider = await LyingProvider.start();
  const ask = (url: string): Promise<Response> =>
    fetchIssuer(url, { method: 'GET', headers: {} }, { privateIssuers: false });
  await assert.rejects(ask(provider.issuer), { code: 'ISSUER_UNREACHABLE' });
  await assert.rejects(ask(provider.issuer.replace('127.0.0.1', 'localhost')), { code: 'ISSUER_UNREACHABLE' });
  await assert.rejects(ask('https://[::ffff:10.0.0.1]/'), { code: 'ISSUER_UNREACHABLE' });
  for (const address of ['10.1.2.3', '169.254.169.254', '::1', 'fd00::1', 'fe80::1', '2002:7f00:1::', '0.0.0.0']) {
    assert.equal(isPublicAddress(address), false, address);
  }
  for (const address of ['192.0.2.1', '8.8.8.8', '2606:4700::1111'])
    assert.equal(isPublicAddress(address), true, address);
});

test('a login leads back to a path of its own host, or to the first page', () => {
  for (const path of ['/', '/a/b?c=d', '/?next=https://evil.example']) assert.equal(localPath(path), path);
  for (const path of [
    '//evil.example',
    '/\\evil.example',
    '*',
    'https://evil.example',
    '/a b',
    '/a\r\nb',
    `/${'a'.repeat(2_000)}`,
    CALLBACK,
  ]) {
    assert.equal(localPath(path), '/', path);
  }
});
