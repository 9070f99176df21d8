/** Client certificates at the edge: those of one name's authorities, for that name alone, over both protocols. */
import assert from 'node:assert/strict';
import { createHash, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { systemClock, type Clock } from '@moat/core';
import 'reflect-metadata';
import { BasicConstraintsExtension, X509CertificateGenerator, type X509Certificate } from '@peculiar/x509';
import type { EdgeAuth } from '../../src/publications/edge-rules.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { recording, type Seen } from '../member.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;
const OTHER = 'held.localhost';

interface Pair {
  readonly cert: string;
  readonly key: string;
}

class Authority {
  readonly #certificate: X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;
  #serial = 0x10;

  private constructor(certificate: X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.#certificate = certificate;
    this.#keys = keys;
  }

  static async create(name: string): Promise<Authority> {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    const certificate = await X509CertificateGenerator.createSelfSigned({
      name: `CN=${name}`,
      keys,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      signingAlgorithm: ALGORITHM,
      extensions: [new BasicConstraintsExtension(true, undefined, true)],
    });
    return new Authority(certificate, keys);
  }

  get pem(): string {
    return `${this.#certificate.toString('pem').trim()}\n`;
  }

  async issue(subject: string, { fromMs = -DAY_MS, untilMs = DAY_MS / 2 } = {}): Promise<Pair> {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    this.#serial += 1;
    const certificate = await X509CertificateGenerator.create({
      serialNumber: this.#serial.toString(16),
      issuer: this.#certificate.subject,
      subject,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: ALGORITHM,
      notBefore: new Date(Date.now() + fromMs),
      notAfter: new Date(Date.now() + untilMs),
    });
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
    return {
      cert: certificate.toString('pem'),
      key: `-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`,
    };
  }
}

function waysOf(authority: Authority, more: Partial<Omit<EdgeAuth & { kind: 'ways' }, 'kind'>> = {}): EdgeAuth {
  const mark = createHash('sha256').update(authority.pem).digest('base64url');
  return { kind: 'ways', deployment: 'd', mark, mtls: { ca: authority.pem, mark }, ...more };
}

function published(edge: EdgeUnderTest, auth: EdgeAuth, host = HOST): Seen[] {
  const seen: Seen[] = [];
  edge.links.add('m1', recording(seen));
  edge.route({ host, deployment: host, service: 'web', members: ['m1'], auth }, [HOST, OTHER]);
  return seen;
}

function handshake(edge: EdgeUnderTest, servername: string, pair?: Pair, protocol = 'http/1.1'): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const { httpsPort: port } = edge.edge;
    const to = { host: '127.0.0.1', port, ca: edge.ca, servername, ALPNProtocols: [protocol], ...pair };
    const socket = connect(to, () => resolve(socket));
    socket.once('error', reject);
  });
}

async function statusOf(edge: EdgeUnderTest, pair?: Pair, host = HOST): Promise<number> {
  const sent = httpsRequest({
    createConnection: () =>
      connect({ host: '127.0.0.1', port: edge.edge.httpsPort, ca: edge.ca, servername: host, ...pair }),
    headers: { host, accept: 'application/json', 'x-forwarded-client-cert': 'Hash=spoofed' },
  });
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  sent.end();
  const [response] = await answered;
  response.resume();
  return response.statusCode ?? 0;
}

function overHttp2(socket: TLSSocket): Promise<number> {
  const session = connectHttp2(`https://${HOST}`, { createConnection: () => socket });
  return new Promise((resolve, reject) => {
    session.on('error', reject);
    const stream = session.request({ ':path': '/', ':authority': HOST });
    stream.on('response', (head) => resolve(Number(head[':status'])));
    stream.on('error', reject);
    stream.resume().on('end', () => session.close());
  });
}

test('a certificate of its authorities opens a name, and the service learns whose', async () => {
  await using edge = await EdgeUnderTest.start();
  const authority = await Authority.create('shop staff');
  const seen = published(edge, waysOf(authority));
  const ana = await authority.issue('CN=ana, O=Shop "x"');
  assert.equal(await statusOf(edge, ana), 200);
  assert.equal(await overHttp2(await handshake(edge, HOST, ana, 'h2')), 200);
  for (const { fields } of seen) {
    const of = (wanted: string): string[] => fields.flatMap(([name, value]) => (name === wanted ? [value] : []));
    assert.deepEqual(of('x-forwarded-user'), ['ana']);
    assert.match(of('x-forwarded-client-cert').join('|'), /^Hash=[0-9a-f]{64};Subject="[^"\\|]*CN=ana[^"\\|]*"$/);
  }
  assert.equal(seen.length, 2);
});

test('none, one of other authorities, of its own making or over opens nothing', async () => {
  await using edge = await EdgeUnderTest.start();
  const authority = await Authority.create('shop staff');
  const impostor = await Authority.create('shop staff');
  const seen = published(edge, waysOf(authority));
  assert.equal(await statusOf(edge), 403);
  assert.equal(await statusOf(edge, await impostor.issue('CN=ana')), 403);
  assert.equal(await statusOf(edge, await authority.issue('CN=ana', { fromMs: -DAY_MS, untilMs: -60_000 })), 403);
  assert.equal(await statusOf(edge, await authority.issue('CN=ana', { fromMs: 60_000 })), 403);
  assert.equal(await overHttp2(await handshake(edge, HOST, undefined, 'h2')), 403);
  const codes = edge.log.flatMap((line) => (line['code'] === undefined ? [] : [line['code']]));
  assert.deepEqual(new Set(codes), new Set(['CERTIFICATE_REQUIRED']));
  assert.deepEqual(seen, []);
});

test('what was shown for one name, or to authorities that were replaced, counts no more', async () => {
  await using edge = await EdgeUnderTest.start();
  const authority = await Authority.create('shop staff');
  const others = await Authority.create('blog staff');
  const seen = published(edge, waysOf(authority));
  const ana = await authority.issue('CN=ana');
  const socket = await handshake(edge, HOST, ana);
  const ask = async (): Promise<string> => {
    socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    return chunk.toString('latin1').split(' ', 2)[1] ?? '';
  };
  assert.equal(await ask(), '200');
  published(edge, waysOf(others));
  assert.equal(await ask(), '403', 'the connection stands, its certificate does not');
  published(edge, waysOf(authority), OTHER);
  const crossed = await handshake(edge, OTHER, ana);
  crossed.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  const [chunk] = (await once(crossed, 'data')) as [Buffer];
  assert.match(chunk.toString('latin1'), /^HTTP\/1\.1 421 /);
  crossed.destroy();
  assert.equal(seen.length, 1);
});

test('a connection that outlives its certificate opens nothing; who has none takes another way', async () => {
  let aheadMs = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  await using edge = await EdgeUnderTest.start({ clock });
  const authority = await Authority.create('shop staff');
  const nobody = { deployment: 'd', realm: 'shop', users: new Map() };
  published(edge, waysOf(authority, { basic: nobody }));
  assert.equal(await statusOf(edge), 401, 'a password is asked for');
  const ana = await authority.issue('CN=ana');
  assert.equal(await statusOf(edge, ana), 200);
  aheadMs = DAY_MS;
  assert.equal(await statusOf(edge, ana), 401);
});
