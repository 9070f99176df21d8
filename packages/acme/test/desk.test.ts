/** Many names at a limit cost one refusal, not one each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import type { CertificateChange, SpentRecord } from '@moat/acme';
import { OrderDesk } from '../src/desk.ts';

const directory = 'https://acme-v02.api.letsencrypt.org/directory';
const HOUR_MS = 3_600_000;

function deskWith(spent: readonly SpentRecord[]): { desk: OrderDesk; commits: CertificateChange[] } {
  const commits: CertificateChange[] = [];
  const store = { commit: async (change: CertificateChange) => void commits.push(change) };
  const desk = new OrderDesk(
    { clock: systemClock, logger: silentLogger, store, random: Math.random, solvers: [] },
    { authorities: [{ directory }], signal: AbortSignal.timeout(5_000) },
    { accounts: [], orders: [], certificates: [], failures: [], spent },
  );
  return { desk, commits };
}

const wanted = (name: string) => ({ id: name, names: [name], held: undefined });
const spentOf = (kind: SpentRecord['kind'], count: number): SpentRecord[] =>
  Array.from({ length: count }, (_, index) => ({ directory, kind, id: `n${index}.example.com`, atMs: Date.now() }));

test('a registered domain that is full is full for all its names', async () => {
  const { desk, commits } = deskWith(spentOf('certificate', 45));
  const now = Date.now();
  assert.ok(desk.dueMs(wanted('b.example.com'), now) <= now);
  assert.equal(await desk.order(wanted('a.example.com')), undefined);
  assert.equal(desk.failures.last('a.example.com')?.code, 'ACME_LIMITED');
  assert.ok(desk.dueMs(wanted('b.example.com'), now) > now + 6 * 24 * HOUR_MS, 'the others are not even tried');
  assert.ok(desk.dueMs(wanted('b.example.org'), now) <= now);
  assert.equal(commits.length, 1, 'one failure is kept');
});

test('with as many orders as may be, all wait', async () => {
  const { desk } = deskWith(spentOf('order', 240));
  const now = Date.now();
  assert.equal(await desk.order(wanted('a.example.net')), undefined);
  assert.ok(desk.dueMs(wanted('b.example.org'), now) > now + 2 * HOUR_MS);
});
