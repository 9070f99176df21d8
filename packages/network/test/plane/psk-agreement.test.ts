import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';
import { isMoatError } from '@moat/core';

import { PskInitiation, isProof, respondPsk, type PskContext } from '../../src/plane/preshared-keys/psk-agreement.ts';
import { decodePskMessage, encodePskMessage, type PskMessage } from '../../src/plane/preshared-keys/psk-messages.ts';

const CONTEXT: PskContext = {
  deployment: 'abcdefghijklmnopqrstuvwxyz',
  initiator: { peer: '12D3KooWA', publicKey: 'key a' },
  responder: { peer: '12D3KooWB', publicKey: 'key b' },
  epoch: 7,
};

test('both sides have one key, and each can show it', () => {
  const initiation = new PskInitiation();
  const { reply, agreed } = respondPsk(CONTEXT, initiation.begin);
  const ours = initiation.finish(CONTEXT, reply);
  assert.equal(Buffer.from(ours.presharedKey, 'base64').length, 32);
  assert.equal(ours.presharedKey, agreed.presharedKey);
  assert.ok(isProof(ours.initiatorProof, agreed.initiatorProof));
  assert.ok(!isProof(ours.initiatorProof, agreed.responderProof), 'a proof cannot be sent back');
});

test('another machine, WireGuard key, deployment or epoch is another key', () => {
  const initiation = new PskInitiation();
  const { reply, agreed } = respondPsk(CONTEXT, initiation.begin);
  const others: PskContext[] = [
    { ...CONTEXT, deployment: 'bcdefghijklmnopqrstuvwxyza' },
    { ...CONTEXT, epoch: 8 },
    { ...CONTEXT, initiator: { ...CONTEXT.initiator, peer: '12D3KooWC' } },
    { ...CONTEXT, responder: { ...CONTEXT.responder, publicKey: 'key c' } },
    { ...CONTEXT, initiator: CONTEXT.responder, responder: CONTEXT.initiator },
  ];
  const keys = others.map((context) => initiation.finish(context, reply).presharedKey);
  assert.equal(new Set([...keys, agreed.presharedKey]).size, others.length + 1);
});

test('a changed bit of either half is another key, or no key', () => {
  const initiation = new PskInitiation();
  const { reply, agreed } = respondPsk(CONTEXT, initiation.begin);
  fc.assert(
    fc.property(fc.constantFrom('x25519', 'ciphertext' as const), fc.nat({ max: 31 * 8 }), (half, bit) => {
      const changed = Uint8Array.from(reply[half]);
      // The highest bit of an X25519 key means nothing; the transcript still has it.
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      try {
        assert.notEqual(initiation.finish(CONTEXT, { ...reply, [half]: changed }).presharedKey, agreed.presharedKey);
      } catch (error) {
        assert.ok(isMoatError(error, 'PSK_INVALID'));
      }
    }),
    { numRuns: 50 },
  );
});

test('keys that are none are refused', () => {
  const { begin } = new PskInitiation();
  assert.throws(() => respondPsk(CONTEXT, { ...begin, x25519: new Uint8Array(32) }), { code: 'PSK_INVALID' });
  assert.throws(() => respondPsk(CONTEXT, { ...begin, mlkem: new Uint8Array(1_184).fill(255) }), {
    code: 'PSK_INVALID',
  });
});

test('messages survive the way there; anything else is a coded error', () => {
  const initiation = new PskInitiation();
  const { reply, agreed } = respondPsk(CONTEXT, initiation.begin);
  const messages: PskMessage[] = [
    { type: 'begin', deployment: CONTEXT.deployment, epoch: 7, holds: null, ...initiation.begin },
    { type: 'reply', ...reply, proof: agreed.responderProof },
    { type: 'commit', proof: agreed.initiatorProof },
    { type: 'want', deployment: CONTEXT.deployment },
    { type: 'installed' },
    { type: 'done' },
  ];
  for (const message of messages) {
    const bytes = encodePskMessage(message);
    assert.ok(bytes.length < 4_096);
    assert.deepEqual(encodePskMessage(decodePskMessage(bytes)), bytes);
  }
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        assert.throws(() => decodePskMessage(bytes), { code: 'PSK_INVALID' });
      },
    ),
  );
});
