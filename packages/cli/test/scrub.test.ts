/** Nothing secret leaves the machine in a bundle. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { scrub, secretsIn } from '../src/doctor/scrub.ts';

const secret = (bytes = 32): string => randomBytes(bytes).toString('base64url');

test('what looks like a secret goes, what is not stays', () => {
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const s = secret();
  for (const text of [
    pem,
    JSON.stringify({ log: pem }),
    `code moatcode-${s} was`,
    `join moat1.${s}`,
    `postgres://user:${s}@db/x`,
    `Authorization: Bearer ${s}`,
    `authorization: Basic ${s}==`,
    `clientSecret: ${s}`,
    `PrivateKey = ${s}=`,
    `PresharedKey = ${s}=`,
    `"client_secret":"${s}"`,
    `\\"hmac\\": \\"${s}\\"`,
    `MOAT_PASSWORD=${s} x`,
    `eab: { kid: abc, hmacKey: '${s}' }`,
    `seed = "${s.slice(0, 10)}\\"${s.slice(10)}"`,
  ]) {
    const clean = scrub(text, []);
    assert.ok(!clean.includes(s) && !clean.includes(s.slice(10)), clean);
    assert.ok(!/MC4CAQAwBQYDK2Vw/.test(clean), clean);
    assert.match(clean, /\[removed\]/);
  }
  for (const text of [
    '"peerId":"12D3KooWGzBTFGmBvVQ5xL6vRk5yZwXrYV1Vb1n1xKf"',
    '"deployment":"q7f3abcdefghijklmnopqrstuv"',
    'https://apps.example.com/.well-known/moat',
    'domain: apps.example.com',
    '"restarts":2,"links":1',
  ]) {
    assert.equal(scrub(text, []), text);
  }
});

test('every secret that lies on the machine goes letter for letter, wherever it stands', () => {
  const home = mkdtempSync(join(tmpdir(), 'moat-scrub-'));
  mkdirSync(join(home, 'gateway'));
  const [seed, sealing, password, next] = [secret(), secret(), secret(12), randomBytes(32).toString('base64')];
  writeFileSync(join(home, 'owner.key'), JSON.stringify({ type: 'moat/owner-key/1', key: 'ed25519:pub', seed }));
  writeFileSync(join(home, 'gateway', 'audit.key'), `${sealing}\n`);
  writeFileSync(join(home, 'proxy.password'), `${password}\n`);
  mkdirSync(join(home, 'wireguard'));
  writeFileSync(join(home, 'wireguard', 'q7f3.key.next'), `${next}\n`);
  writeFileSync(join(home, 'gateway', 'gateway.db'), 'not-a-secret-word');
  const secrets = secretsIn([home, join(home, 'nowhere')]);
  const clean = scrub(`x${seed}y ${sealing}${next} said ${password}, moat/owner-key/1 not-a-secret-word`, secrets);
  assert.equal(clean, 'x[removed]y [removed][removed] said [removed], moat/owner-key/1 not-a-secret-word');
  rmSync(home, { recursive: true });
});
