import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toBase64url } from '@moat/core';
import fc from 'fast-check';
import { checkTokenHead, createInvite, encodeToken, headHash, parseToken, type Token } from '@moat/contract';
import { deployment, firstVersion, gateway, nextVersion, web1 } from './deployment.fixture.ts';

const v0 = firstVersion();
const v1 = nextVersion(v0);
const seed = new Uint8Array(32).fill(9);
const token: Token = {
  deployment,
  version: 1,
  head: headHash(v1.head),
  keepers: [`/ip4/192.0.2.1/tcp/4410/p2p/${web1.peer}`],
  anchors: [`/dns4/gw.example.com/tcp/4410/p2p/${gateway.peer}`],
  seed: toBase64url(seed),
};

test('the seed is the private key of RFC 8032 §7.1', () => {
  const { key, signer } = createInvite(
    Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex'),
  );
  const publicKey = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
  assert.deepEqual(Buffer.from(signer.publicKey), publicKey);
  assert.equal(key, `ed25519:${publicKey.toString('base64url')}`);
  assert.throws(() => createInvite(new Uint8Array(31)), { code: 'TOKEN_INVALID' });
});

test('a token survives its text, white space around it included', () => {
  const text = encodeToken(token);
  assert.match(text, /^moat1\.[\w-]+$/);
  assert.deepEqual(parseToken(`\n ${text}\r\n`), token);
  assert.equal(parseToken(encodeToken({ ...token, member: 'laptop' })).member, 'laptop');
  const { seed: _, ...locator } = token;
  assert.deepEqual(parseToken(encodeToken(locator)), locator);
});

test('a damaged token is refused without a word of it', () => {
  const text = encodeToken(token);
  const json = (value: unknown): string => `moat1.${toBase64url(Buffer.from(JSON.stringify(value)))}`;
  for (const bad of [
    '',
    text.slice(0, -3),
    text.slice(1),
    `${text}=`,
    `${text} ${text}`,
    text.replace('moat1.', 'moat2.'),
    json({ ...token, extra: 1 }),
    json({ ...token, seed: 'short' }),
    json({ ...token, deployment: 'shop' }),
    json({ ...token, seed: { length: { toString: 1, valueOf: 2 } } }),
    json({ ...token, keepers: Array.from({ length: 17 }, () => token.keepers[0]) }),
    `moat1.${toBase64url(Buffer.from(`{"seed":"${token.seed}"`))}`,
    'moat1.'.padEnd(40_000, 'A'),
  ]) {
    assert.throws(
      () => parseToken(bad),
      (error: Error & { code: string; reason: string }) => {
        assert.equal(error.code, 'TOKEN_INVALID');
        assert.equal(error.cause, undefined);
        assert.equal(JSON.stringify([error.message, error.reason]).includes(token.seed ?? ''), false);
        return true;
      },
    );
  }
});

test('a token leads to its version or a later one', () => {
  checkTokenHead(token, v1.head);
  checkTokenHead(token, nextVersion(v1).head);
  assert.throws(() => checkTokenHead(token, v0.head), { code: 'INVITE_UNKNOWN', retryable: true });
  assert.throws(() => checkTokenHead(token, nextVersion(v0, { name: 'fork' }).head), { code: 'INVITE_UNKNOWN' });
  assert.throws(() => checkTokenHead(token, { ...v1.head, deployment: 'a'.repeat(26) }), { code: 'GENESIS_MISMATCH' });
});

test('random text is no token', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.base64String().map((text) => `moat1.${text}`),
      ),
      (text) => {
        assert.throws(() => parseToken(text), { code: 'TOKEN_INVALID' });
      },
    ),
  );
});
