import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  SIGN_IN_LASTS_MS,
  SignInProofs,
  createSignIn,
  formatSignInProof,
  parseSignedSignIn,
  verifySignIn,
  type SignedSignIn,
  type SignInRules,
} from '@moat/contract';
import fc from 'fast-check';
import { isMoatError } from '@moat/core';
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

const NOON = Date.parse('2026-11-21T12:00:00Z');
const proofUntil = (untilMs: number): string => {
  const until = new Date(untilMs).toISOString().replace(/\.\d+Z/, 'Z');
  return formatSignInProof(createSignIn({ ...rules, until }, ana.signer));
};

test('a signature with a time is a proof that its reader checks alone, again and again until then', () => {
  const proof = proofUntil(NOON + 60_000);
  const proofs = new SignInProofs();
  const held = { host: rules.host, keys: rules.keys, now: NOON };
  assert.equal(proofs.verify(proof, held), ana.key);
  assert.equal(proofs.verify(proof, { ...held, now: NOON + 59_999 }), ana.key);
  for (const changed of [
    { now: NOON + 60_000 },
    { keys: [web1.key] },
    { host: 'evil.apps.example.com' },
    { now: NOON - SIGN_IN_LASTS_MS - 3_600_000 },
  ]) {
    assert.throws(() => proofs.verify(proof, { ...held, ...changed }), { code: 'SIGN_IN_INVALID' });
    assert.throws(() => new SignInProofs().verify(proof, { ...held, ...changed }), { code: 'SIGN_IN_INVALID' });
  }
  const timeless = formatSignInProof(createSignIn(rules, ana.signer));
  assert.throws(() => proofs.verify(timeless, held), { code: 'SIGN_IN_INVALID' });
});

test('whatever else is shown as a proof ends in a coded error', () => {
  const proofs = new SignInProofs();
  const proof = proofUntil(NOON + 60_000);
  const nearly = fc
    .tuple(fc.nat(proof.length - 1), fc.string({ unit: 'grapheme', maxLength: 3 }))
    .map(([at, text]) => proof.slice(0, at) + text + proof.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(fc.string(), nearly), (text) => {
      try {
        proofs.verify(text, { host: rules.host, keys: rules.keys, now: NOON });
        return text === proof;
      } catch (error) {
        return isMoatError(error, 'SIGN_IN_INVALID');
      }
    }),
  );
});
