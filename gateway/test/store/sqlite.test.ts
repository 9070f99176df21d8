import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { DeploymentRecord, NameRecord } from '../../src/store/store.ts';
import { NOW, Shop } from '../shop.ts';

function directory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'moat-store-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

function recordOf(shop: Shop): DeploymentRecord {
  const { proof, publications, claims } = shop.bundle(shop.first, [shop.claim()]);
  return { deployment: shop.deployment, proof, publications, claims, updatedMs: NOW };
}

const name = (host: string, deployment: string): NameRecord => ({
  host,
  deployment,
  claimedAtMs: NOW,
  lastLiveMs: NOW + 1,
  served: true,
});

test('what was committed is there when it is opened again, for its user only', () => {
  using temporary = directory();
  const path = join(temporary.path, 'deep', 'gateway.db');
  const shop = new Shop('one');
  const first = openSqliteStore(path);
  first.commit({
    deployments: [recordOf(shop)],
    names: [name('a.localhost', shop.deployment), name('b.localhost', shop.deployment)],
  });
  first.commit({ names: [{ ...name('b.localhost', 'other'), served: false }], releasedHosts: ['a.localhost'] });
  // What lies on the disk while it is open is what a crash leaves.
  const left = join(temporary.path, 'left');
  cpSync(dirname(path), left, { recursive: true });
  const second = openSqliteStore(join(left, 'gateway.db'));
  assert.deepEqual(second.names(), [{ ...name('b.localhost', 'other'), served: false }]);
  assert.deepEqual(second.deployments(), [recordOf(shop)]);
  for (const file of ['gateway.db', 'gateway.db-wal'])
    assert.equal(statSync(join(temporary.path, 'deep', file)).mode & 0o077, 0);
  first.close();
  second.close();
  second.close();
});

test('two gateways never share a database', () => {
  using temporary = directory();
  const path = join(temporary.path, 'gateway.db');
  const store = openSqliteStore(path);
  assert.throws(() => openSqliteStore(path), { code: 'STATE_LOCKED' });
  store.close();
  openSqliteStore(path).close();
});

test('a change stands or falls as one', () => {
  const store = openSqliteStore(':memory:');
  const broken = { ...name('b.localhost', 'd'), deployment: null as unknown as string };
  assert.throws(() => store.commit({ names: [name('a.localhost', 'd'), broken] }), { code: 'STORE_FAILED' });
  assert.deepEqual(store.names(), []);
  store.commit({ names: [name('a.localhost', 'd')] });
  assert.equal(store.names().length, 1);
  store.close();
});

test('a full disk is DISK_FULL, and what was there can still be read', () => {
  using temporary = directory();
  const path = join(temporary.path, 'gateway.db');
  const store = openSqliteStore(path);
  store.commit({ names: [name('a.localhost', 'd')] });
  store.close();
  const reopened = openSqliteStore(path, { maxPages: 6 });
  let error: unknown;
  try {
    for (let i = 0; i < 1_000; i++) reopened.commit({ names: [name(`n${i}.localhost`, 'd'.repeat(200))] });
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(isMoatError(error, 'DISK_FULL'), String(error));
  assert.equal(error.retryable, true);
  assert.ok(reopened.names().some(({ host }) => host === 'a.localhost'));
  reopened.commit({ releasedHosts: ['n0.localhost', 'n1.localhost', 'n2.localhost'] });
  reopened.close();
});

test('a file that is none of ours is refused with a code', () => {
  using temporary = directory();
  const path = join(temporary.path, 'newer.db');
  const database = new DatabaseSync(path);
  database.exec('PRAGMA user_version = 99');
  database.close();
  assert.throws(() => openSqliteStore(path), { code: 'STORE_FAILED', message: /newer version/ });
  assert.throws(() => openSqliteStore(temporary.path), { code: 'STORE_FAILED' });
  assert.throws(() => openSqliteStore('/dev/null/x.db'), { code: 'STORE_FAILED' });
});
