/** Limits of authorities, counted here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SpentRecord } from '@moat/acme';
import { allowanceOf, limitsOf, registeredDomain } from '../src/budget.ts';

const HOUR_MS = 3_600_000;
const WEEK_MS = 7 * 24 * HOUR_MS;
const directory = 'https://acme-v02.api.letsencrypt.org/directory';
const limits = limitsOf(directory);
const now = 100 * WEEK_MS;
const order = (name: string, isRenewal = false): Parameters<typeof allowanceOf>[0] => ({
  id: name,
  names: [name],
  isRenewal,
});
const orderableAtMs = (...of: Parameters<typeof allowanceOf>): number => allowanceOf(...of).atMs;
const spent = (kind: SpentRecord['kind'], id: string, atMs: number): SpentRecord => ({ directory, kind, id, atMs });

test('a domain with as many certificates as may be waits for the oldest to be a week old', () => {
  const many = Array.from({ length: 45 }, (_, index) =>
    spent('certificate', `n${index}.example.com`, now - index * HOUR_MS),
  );
  const atMs = orderableAtMs(order('new.apps.example.com'), many, limits, now);
  assert.equal(atMs, now - 44 * HOUR_MS + WEEK_MS);
  assert.deepEqual(allowanceOf(order('new.apps.example.com'), many, limits, now).scope, { domain: 'example.com' });
  assert.equal(orderableAtMs(order('example.org'), many, limits, now), now, 'another domain does not wait');
  assert.equal(orderableAtMs(order('n1.example.com', true), many, limits, now), now, 'nor does a renewal');
  assert.equal(orderableAtMs(order('new.example.com'), many, limits, atMs + 1), atMs + 1);
});

test('the same names are not ordered a fifth time in a week', () => {
  const same = Array.from({ length: 4 }, (_, index) => spent('certificate', 'a.example.com', now - index * HOUR_MS));
  assert.equal(orderableAtMs(order('a.example.com', true), same, limits, now), now - 3 * HOUR_MS + WEEK_MS);
});

test('orders of three hours are counted, for all names together', () => {
  const many = Array.from({ length: 240 }, (_, index) => spent('order', `${index}.example`, now - index * 1_000));
  assert.equal(orderableAtMs(order('other.example', true), many, limits, now), now - 239_000 + 3 * HOUR_MS);
});

test('an authority whose limits we do not know is asked, within reason', () => {
  const many = Array.from({ length: 500 }, (_, index) => spent('certificate', `n${index}.example.com`, now));
  assert.equal(orderableAtMs(order('new.example.com'), many, limitsOf('https://ca.internal/dir'), now), now);
});

test('what is registered, near enough', () => {
  assert.equal(registeredDomain('*.apps.example.com'), 'example.com');
  assert.equal(registeredDomain('shop.example.co.uk'), 'example.co.uk');
  assert.equal(registeredDomain('example.de'), 'example.de');
});
