import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { formatKey, signerFromKey, type Signer } from '@moat/core';
import {
  ENTRY_LIFE_MS,
  canonicalize,
  formatTime,
  keyOfPerson,
  parseSignedEntry,
  replacesEntry,
  rotateEntryKey,
  signNodeEntry,
  signPersonEntry,
  subjectOf,
  verifyEntry,
  type KeyRotation,
  type NodeEntry,
  type PersonEntry,
  type SignedEntry,
} from '@moat/contract';
import { NOW, stranger, web1 } from './deployment.fixture.ts';

const DAY = 86_400_000;
const person = (): Signer => signerFromKey(generateKeyPairSync('ed25519').privateKey);
const [first, second, thief] = [person(), person(), person()];
const root = formatKey('ed25519', first.publicKey);

function node(fields: Partial<NodeEntry> = {}): SignedEntry {
  const expires = formatTime(NOW + DAY);
  return signNodeEntry({ number: NOW, expires, roles: ['anchor', 'node'], addresses: [], ...fields }, web1.signer);
}

function ben(number: number, rotations: readonly KeyRotation[], signer: Signer): SignedEntry {
  const expires = formatTime(NOW + DAY);
  return signPersonEntry({ handle: 'ben', root, rotations, number, expires, contact: 'ben@example.com' }, signer);
}

test('a machine and a person say who they are', () => {
  for (const signed of [node(), node({ offeredTo: [root], region: 'eu-west', load: 3 }), ben(NOW, [], first)]) {
    assert.deepEqual(parseSignedEntry(canonicalize(signed)), signed);
    verifyEntry(signed, NOW);
  }
  assert.equal(subjectOf(node().entry), web1.peer);
  assert.equal(subjectOf(ben(NOW, [], first).entry), root);
});

test('nobody speaks for another, and what is over counts no more', () => {
  const { entry, signature } = node();
  for (const forged of [
    { entry: { ...entry, node: stranger.peer } as NodeEntry, signature },
    { entry: { ...entry, number: 1 } as NodeEntry, signature },
    ben(NOW, [], thief),
    node({ number: NOW + DAY }),
  ]) {
    assert.throws(() => verifyEntry(forged, NOW), { code: 'DIRECTORY_FORGED' });
  }
  for (const expires of [formatTime(NOW), formatTime(NOW + ENTRY_LIFE_MS.node + DAY)]) {
    assert.throws(() => verifyEntry(node({ expires }), NOW), { code: 'DIRECTORY_EXPIRED' });
  }
});

test('a key changes and the handle stays; the key before it signs nothing that counts any more', () => {
  const rotation = rotateEntryKey(root, first, second);
  const after = ben(NOW + 1, [rotation], second);
  verifyEntry(after, NOW);
  assert.equal(keyOfPerson(after.entry as PersonEntry), formatKey('ed25519', second.publicKey));
  assert.ok(replacesEntry(after.entry, ben(NOW + 9, [], first).entry), 'whatever the numbers');
  assert.ok(!replacesEntry(ben(NOW + 9, [], first).entry, after.entry));
  const stolen = ben(NOW + 9, [rotateEntryKey(root, first, thief)], thief);
  verifyEntry(stolen, NOW);
  assert.ok(!replacesEntry(stolen.entry, after.entry), 'the way that was known first stays');
  const [taken] = [rotateEntryKey(root, thief, second)];
  assert.ok(taken);
  assert.throws(() => verifyEntry(ben(NOW, [taken], second), NOW), { code: 'DIRECTORY_FORGED' });
});

test('of one machine the higher number counts', () => {
  assert.ok(replacesEntry(node({ number: NOW + 1 }).entry, node().entry));
  assert.ok(!replacesEntry(node().entry, node().entry));
});

test('what people will read is one line, and every list has a bound', () => {
  const { entry, signature } = node();
  for (const terms of ['two\nlines', 'esc\u001b[31m', 'bidi\u202e', '', 'x'.repeat(257)]) {
    assert.throws(() => parseSignedEntry({ entry: { ...entry, terms }, signature }), { code: 'CONTRACT_INVALID' });
  }
  assert.throws(() => parseSignedEntry({ entry: { ...entry, roles: ['node', 'anchor'] }, signature }), {
    code: 'CONTRACT_INVALID',
  });
  const address = `/ip4/203.0.113.1/tcp/4410/p2p/${web1.peer}`;
  const addresses = Array.from({ length: 9 }, (_, i) => address.replace('4410', String(4410 + i)));
  assert.throws(() => parseSignedEntry({ entry: { ...entry, addresses }, signature }), { code: 'CONTRACT_INVALID' });
});
