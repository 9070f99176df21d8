/** Chains are held against what was ordered. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { createKey } from '../src/certificate-request.ts';
import { checkChain, renewalIdOf } from '../src/chain.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const now = Date.UTC(2026, 5, 1);
const HOUR_MS = 3_600_000;

async function issue(key: string, names: string[], life: { from?: number; to?: number } = {}): Promise<string> {
  const spki = createPublicKey(createPrivateKey(key)).export({ type: 'spki', format: 'der' });
  const authority = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const leaf = await X509CertificateGenerator.create({
    subject: 'CN=leaf',
    issuer: 'CN=R99,O=An authority',
    notBefore: new Date(life.from ?? now - HOUR_MS),
    notAfter: new Date(life.to ?? now + HOUR_MS),
    publicKey: await webcrypto.subtle.importKey('spki', spki, ALGORITHM, true, ['verify']),
    signingKey: authority.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [new SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value })))],
  });
  return leaf.toString('pem');
}

const wrong = (words: RegExp) => (error: unknown) =>
  isMoatError(error, 'ACME_CERTIFICATE_WRONG') && words.test(error.message);

test('a chain is taken for its key, all its names, and now', async () => {
  const key = createKey();
  const pem = await issue(key, ['example.com', '*.example.com']);
  const facts = checkChain(pem, { names: ['*.example.com', 'example.com'], key, nowMs: now });
  assert.equal(facts.notAfterMs, now + HOUR_MS);
  assert.match(facts.issuer, /R99/);
});

test('anything else is refused', async () => {
  const key = createKey();
  const names = ['example.com'];
  const good = await issue(key, names);
  assert.throws(() => checkChain(good, { names, key: createKey(), nowMs: now }), wrong(/another key/));
  assert.throws(() => checkChain(good, { names: ['www.example.com'], key, nowMs: now }), wrong(/www\.example\.com/));
  assert.throws(() => checkChain(good, { names, key, nowMs: now + 2 * HOUR_MS }), wrong(/over/));
  assert.throws(() => checkChain(good, { names, key, nowMs: now - 3 * HOUR_MS }), wrong(/not valid yet/));
  const other = await issue(createKey(), names);
  assert.throws(() => checkChain(`${good}\n${other}`, { names, key, nowMs: now }), wrong(/one chain/));
  for (const text of ['', 'nothing', good.slice(0, 200), good.replace('MII', 'MIJ')]) {
    assert.throws(() => checkChain(text, { names, key, nowMs: now }), wrong(/./));
  }
});

test('the renewal id of RFC 9773, appendix A', async () => {
  assert.equal(await renewalIdOf(EXAMPLE), 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE');
});

test('a certificate that does not name its issuer has no renewal id', async () => {
  assert.equal(await renewalIdOf(await issue(createKey(), ['example.com'])), undefined);
});

const EXAMPLE = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
`;
