import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSignIn, parseSignedSignIn, verifySignIn, type SignedSignIn, type SignInRules } from '@moat/contract';
import { ana, stranger, web1 } from './deployment.fixture.ts';

const rules: SignInRules = { host: 'shop.apps.example.com', nonce: 'n'.repeat(22), keys: [ana.key, web1.key] };
const signed = createSignIn(rules, ana.signer);

test('a key that may come in signs in, an owner as well as a machine', () => {
  assert.equal(verifySignIn(parseSignedSignIn(JSON.stringify(signed)), rules), ana.key);
  assert.equal(verifySignIn(createSignIn(rules, web1.signer), rules), web1.key);
});

const wrong: readonly (readonly [string, SignedSignIn, SignInRules])[] = [
  ['a stranger', createSignIn(rules, stranger.signer), rules],
  ['another name', createSignIn({ ...rules, host: 'evil.apps.example.com' }, ana.signer), rules],
  [
    'the name changed afterwards',
    { ...signed, signIn: { ...signed.signIn, host: 'x.example' } },
    { ...rules, host: 'x.example' },
  ],
  ['an older question', signed, { ...rules, nonce: 'm'.repeat(22) }],
  ['a key somebody else signed for', { ...signed, signIn: { ...signed.signIn, key: web1.key } }, rules],
  ['no signature', { ...signed, signature: 'A'.repeat(86) }, rules],
];
for (const [what, shown, held] of wrong) {
  test(`nobody comes in by ${what}`, () => {
    assert.throws(() => verifySignIn(shown, held), { code: 'SIGN_IN_INVALID' });
  });
}

test('fields that are not known are refused', () => {
  assert.throws(() => parseSignedSignIn({ ...signed, more: 1 }), { code: 'CONTRACT_TOO_NEW' });
  assert.throws(() => parseSignedSignIn({ ...signed, signIn: { ...signed.signIn, nonce: '' } }), {
    code: 'CONTRACT_INVALID',
  });
});
