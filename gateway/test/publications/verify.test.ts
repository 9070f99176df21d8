/** What one bundle costs a gateway, whoever shows it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONTRACT_LIMITS, type OwnerSignature, type PublishLine } from '@moat/contract';
import { judgeBundle } from '../../src/publications/verify.ts';
import { GATEWAY, NOW, Shop, identity, type ShopVersion } from '../shop.ts';

/** Milliseconds of processor time, the least of some. */
function cost(work: () => void): number {
  const times = Array.from({ length: 4 }, () => {
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return Math.min(...times);
}

test('a proof full of signatures is verified once, also for a place that nobody holds', () => {
  const shop = new Shop('one');
  let version: ShopVersion = shop.first;
  const changes = CONTRACT_LIMITS.proofSignatures / CONTRACT_LIMITS.signatures - 1;
  for (let i = 0; i < changes; i++) {
    const owner = { name: 'ana', key: shop.owner.key, weight: 1 };
    const other = { name: 'bob', key: identity(`bob ${i}`).key, weight: 1 };
    version = shop.next(version, { owners: { threshold: 1, keys: [owner, other] } });
  }
  const { newest, successions, genesis } = version.proof;
  const wrong: OwnerSignature = { key: shop.owner.key, signature: newest.signatures[0]?.signature ?? '' };
  const padding = Array.from({ length: CONTRACT_LIMITS.signatures - 1 }, () => wrong);
  const full = successions.map((each) => ({ ...each, signatures: [...padding, ...each.signatures] }));
  const proof = { genesis, successions: full, newest };

  const rules = { gateway: GATEWAY.peer, current: undefined, nowMs: NOW };
  const member = { ...rules, presenter: shop.laptop.peer };
  const bundle = { ...shop.bundle(version, [shop.claim()]), proof };
  const current = judgeBundle(bundle, member).record;
  assert.equal(current.claims.length, 1);
  const stranger = { ...rules, presenter: identity('stranger').peer, current };
  const once = cost(() => judgeBundle(bundle, member));
  const refused = cost(() => assert.throws(() => judgeBundle(bundle, stranger), { code: 'PUBLISHER_UNKNOWN' }));
  assert.ok(refused < once * 1.5, `${refused} ms instead of ${once} ms`);
});

test('auth and rules about requests, where nobody reads requests, are refused with the name', () => {
  const shop = new Shop('one');
  const serves = (changed: Partial<PublishLine>, protocol: 'http' | 'tcp' = 'http'): readonly string[] => {
    const services = shop.first.contract.services.map((service) => ({ ...service, protocol }));
    const line = { ...(shop.first.contract.publish[0] as PublishLine), ...changed };
    const bundle = shop.bundle(shop.next(shop.first, { services, publish: [line] }), [shop.claim()]);
    const judged = judgeBundle(bundle, {
      gateway: GATEWAY.peer,
      presenter: shop.laptop.peer,
      current: undefined,
      nowMs: NOW,
    });
    return [...judged.servable.map(({ name }) => name), ...judged.refused.map(({ error }) => error.code)];
  };
  const auth = { keys: [shop.owner.key] };
  assert.deepEqual(serves({ auth }), ['shop']);
  assert.deepEqual(serves({ rules: { compress: true, paths: [{ prefix: '/a', service: 'web' }] } }), ['shop']);
  assert.deepEqual(serves({ auth }, 'tcp'), ['PUBLICATION_UNSUPPORTED']);
  assert.deepEqual(serves({ auth, tls: 'passthrough' }), ['PUBLICATION_UNSUPPORTED']);
  assert.deepEqual(serves({ auth, tls: 'passthrough', port: 7000 }, 'tcp'), ['PUBLICATION_UNSUPPORTED']);
  assert.deepEqual(serves({ rules: { maxBodyBytes: 1 } }, 'tcp'), ['PUBLICATION_UNSUPPORTED']);
  assert.deepEqual(serves({ rules: { concurrency: 1 } }, 'tcp'), ['shop']);
});
