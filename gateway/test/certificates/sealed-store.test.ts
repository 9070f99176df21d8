/** What is kept of certificates: whole, sealed, and in the audit log. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MemoryCertificateStore, type CertificateChange, type CertificateState } from '@moat/acme';
import { silentLogger } from '@moat/core';
import { createSealedStore } from '../../src/certificates/sealed-store.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const SECRET = '-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n';
const A = 'https://a.example/dir';
const B = 'https://b.example/dir';
const names = ['shop.example.com'];
const id = 'shop.example.com';
const order = (directory: string): NonNullable<CertificateChange['order']> => ({
  id,
  names,
  directory,
  key: SECRET,
  url: undefined,
  createdMs: 1,
});
const failure = (directory: string): NonNullable<CertificateChange['failure']> => ({
  id,
  directory,
  count: 1,
  atMs: 2,
  nextMs: 3,
  code: 'ACME_REFUSED',
  message: 'no',
});
const certificate: NonNullable<CertificateChange['certificate']> = {
  id,
  names,
  directory: A,
  certificate: 'chain',
  key: SECRET,
  obtainedMs: 4,
  notBeforeMs: 4,
  notAfterMs: 5,
  renewAtMs: 5,
  askAgainMs: undefined,
  explanation: undefined,
};
const spent = (kind: 'order' | 'certificate', atMs: number) => ({ directory: A, kind, id, atMs });

const CHANGES: readonly CertificateChange[] = [
  { account: { directory: A, key: SECRET, url: undefined } },
  { account: { directory: A, key: SECRET, url: 'https://a.example/1' } },
  { order: order(A) },
  { order: { ...order(A), url: 'https://a.example/o/1' }, spent: [spent('order', 10)] },
  { order: order(B) },
  { failure: failure(A) },
  { failure: failure(B), endedOrder: { id, directory: B } },
  { certificate, endedOrder: { id, directory: A }, healed: id, spent: [spent('certificate', 20)] },
  { certificate: { ...certificate, directory: B, askAgainMs: 9 } },
  { failure: { ...failure(A), id: 'gone' }, spentBeforeMs: 15 },
  { forgotten: ['gone'] },
];

const plain = (state: CertificateState): unknown => JSON.parse(JSON.stringify(state));

test('after each change the database says what the memory twin says', async () => {
  const twin = new MemoryCertificateStore();
  const store = openSqliteStore(':memory:');
  const sealed = createSealedStore({ logger: silentLogger, store, key: randomBytes(32) });
  for (const [index, change] of CHANGES.entries()) {
    await sealed.commit(change);
    await twin.commit(change);
    assert.deepEqual(plain(await sealed.load()), plain(await twin.load()), `after change ${index}`);
  }
  const actions = store.audit.read(0, 0, 100).map((line) => (JSON.parse(line) as { action: string }).action);
  assert.deepEqual(
    actions.filter((action) => action.startsWith('certificate')),
    ['certificate.failed', 'certificate.failed', 'certificate.issued', 'certificate.failed'],
  );
  store.close();
});

test('no key is in the database, and what another key sealed is left out', async () => {
  const path = await mkdtemp(join(tmpdir(), 'moat-sealed-'));
  try {
    const store = openSqliteStore(join(path, 'gateway.db'));
    for (const change of CHANGES.slice(0, 4)) {
      await createSealedStore({ logger: silentLogger, store, key: randomBytes(32) }).commit(change);
    }
    const other = createSealedStore({ logger: silentLogger, store, key: randomBytes(32) });
    assert.deepEqual((await other.load()).orders, []);
    assert.deepEqual((await other.load()).accounts, []);
    store.close();
    for (const file of await readdir(path)) {
      assert.ok(!(await readFile(join(path, file))).includes('secret'), `${file} holds a key`);
    }
  } finally {
    await rm(path, { recursive: true, force: true });
  }
});
