/** An authority that is broken, hostile, or not the one it should be: every request ends, in time, with a coded error. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { isMoatError, systemClock } from '@moat/core';
import { PemConverter, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { AcmeTransport } from '../src/transport.ts';

let server: Server;
let base: string;
let trust: string;

before(async () => {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=authority under test',
    keys,
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  });
  trust = certificate.toString('pem');
  const key = PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  server = createServer({ cert: trust, key }, (request, response) => {
    const json = { 'content-type': 'application/json' };
    if (request.url === '/large') response.end(Buffer.alloc(300 * 1_024));
    else if (request.url === '/json') response.writeHead(200, json).end('{');
    else if (request.url === '/moved') response.writeHead(302, { location: '/ok' }).end();
    else if (request.url === '/busy') response.writeHead(503, { 'retry-after': '999999999' }).end();
    else if (request.url === '/reset') request.socket.destroy();
    else if (request.url === '/nonce') {
      response.writeHead(400, { 'content-type': 'application/problem+json', 'replay-nonce': 'n' });
      response.end(JSON.stringify({ type: 'urn:ietf:params:acme:error:badNonce' }));
    } else if (request.url !== '/silent') response.writeHead(200, { ...json, 'retry-after': '7' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  server.closeAllConnections();
});

interface Choices {
  readonly trusted?: boolean;
  readonly signal?: AbortSignal;
  readonly requestMs?: number;
}

function transport(choices: Choices = {}): AcmeTransport {
  const { trusted = true, signal = AbortSignal.timeout(10_000), requestMs = 10_000 } = choices;
  return new AcmeTransport({ clock: systemClock }, { trust: trusted ? trust : undefined, signal, requestMs });
}

const ends = (path: string, says: RegExp, choices?: Choices) => async () => {
  const sent = transport(choices);
  await assert.rejects(
    sent.request(`${base}${path}`, 'get'),
    (error) => isMoatError(error, 'ACME_UNREACHABLE') && says.test(error.message) && error.retryable,
  );
  sent.close();
};

test('an answer without an end of size', ends('/large', /larger than 262144 bytes/));
test('an answer that is no JSON', ends('/json', /cannot reach 127\.0\.0\.1/));
test('a redirect', ends('/moved', /status 302/));
test('no answer', ends('/silent', /did not answer in time/, { requestMs: 300 }));
test('a connection that breaks', ends('/reset', /cannot reach/));
test('one that asks for too much patience', async () => {
  const error = await transport()
    .request(`${base}/busy`, 'get')
    .catch((thrown: unknown) => thrown);
  assert.ok(isMoatError(error, 'ACME_UNREACHABLE'));
  assert.equal(error.details['retryAfterMs'], 7 * 24 * 3_600_000, 'a week at most');
});

test('a nonce that is refused is for acme-client to answer', async () => {
  assert.equal((await transport().request(`${base}/nonce`, 'post', {})).status, 400);
});

test('what it asks to wait is told of the answer it stood at', async () => {
  const sent = transport();
  const { data } = await sent.request(`${base}/ok`, 'get');
  assert.equal(sent.retryAfterMs(data as object), 7_000);
  assert.equal(sent.retryAfterMs({}), undefined);
});

test('http, and an authority of strangers', async () => {
  const code = { code: 'ACME_UNREACHABLE' };
  await assert.rejects(transport().request(base.replace('https', 'http'), 'get'), code);
  await assert.rejects(transport().request('nothing', 'get'), code);
  await assert.rejects(transport({ trusted: false }).request(`${base}/ok`, 'get'), code);
});

test('a stop ends what runs, with its own reason', async () => {
  const stopping = new AbortController();
  const request = transport({ signal: stopping.signal }).request(`${base}/silent`, 'get');
  stopping.abort();
  await assert.rejects(request, { name: 'AbortError' });
});
