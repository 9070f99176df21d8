/** Boxed secrets: this gateway opens its own, nobody else's; the owner is told why a name lets nobody in. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, scryptSync } from 'node:crypto';
import { test } from 'node:test';
import { formatKey } from '@moat/core';
import { boxSecret, formatBasicUser, openSecret, type PublishLine } from '@moat/contract';
import { createOwnerKey } from '@moat/identity';
import { BOX, Desk } from '../desk.ts';
import { Shop, type ShopVersion } from '../shop.ts';

const SALT = Buffer.from('sixteen bytes...');
const USERS = formatBasicUser('ana', {
  log2N: 12,
  r: 8,
  p: 1,
  salt: SALT,
  hash: scryptSync('correct horse', SALT, 32, { N: 4096, r: 8, p: 1 }),
});

function keyOf({ publicKey }: { publicKey: typeof BOX.publicKey }): string {
  return formatKey('x25519', publicKey.export({ type: 'spki', format: 'der' }).subarray(12));
}

function guarded(shop: Shop, text: string, options: { box?: string; boxedAs?: string } = {}): ShopVersion {
  const box = options.box ?? keyOf(BOX);
  const line = shop.line('shop');
  const target = { box, deployment: shop.deployment, name: options.boxedAs ?? 'shop', salt: line.salt };
  const gateway: PublishLine['gateway'] = { ...line.gateway, box: keyOf(BOX) };
  const auth = { basic: boxSecret(Buffer.from(text), target) };
  return shop.next(shop.first, { publish: [{ ...line, gateway, auth }] });
}

test('a name whose box opens asks for its users', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const version = guarded(shop, USERS);
  const answer = await desk.show(shop.web1, shop.bundle(version));
  assert.ok(answer.ok);
  assert.deepEqual(answer.refused, []);
  const auth = desk.routes.current.find('shop.localhost')?.auth;
  assert.deepEqual(auth?.kind === 'ways' ? [...(auth.basic?.users.keys() ?? [])] : [], ['ana']);
  // Another member shows a copy: it is not opened anew.
  await desk.show(shop.laptop, structuredClone(shop.bundle(version, [shop.claim()])));
  assert.equal(desk.membersOf('shop.localhost').length, 2);
  assert.equal(desk.routes.current.find('shop.localhost')?.auth, auth);
  // A member has the contract, and its own keys: they do not open it.
  const [line] = version.contract.publish;
  const { privateKey } = generateKeyPairSync('x25519');
  const basic = line?.auth?.basic;
  assert.ok(line && basic);
  assert.throws(() => openSecret(basic, privateKey, { deployment: shop.deployment, name: 'shop', salt: line.salt }), {
    code: 'SECRET_UNREADABLE',
  });
  assert.ok(!JSON.stringify(version.contract).includes('scrypt'));
});

test('a box for another key, moved from another name, or of no users is unreadable, and its owner hears why', async () => {
  const other = keyOf(generateKeyPairSync('x25519'));
  const cases: readonly (readonly [string, string, { box?: string; boxedAs?: string }])[] = [
    ['another key', USERS, { box: other }],
    ['another name', USERS, { boxedAs: 'blog' }],
    ['no users', 'ana:secret', {}],
  ];
  for (const [what, text, options] of cases) {
    const desk = new Desk();
    const shop = new Shop('one');
    const broken = guarded(shop, text, options);
    const answer = await desk.show(shop.web1, shop.bundle(broken));
    assert.ok(answer.ok, what);
    assert.deepEqual(
      answer.refused.map(({ name, code }) => [name, code]),
      [['shop', 'SECRET_UNREADABLE']],
      what,
    );
    assert.equal(desk.routes.current.find('shop.localhost')?.auth?.kind, 'unreadable', what);
    // The next version, boxed right, mends it.
    const mended = shop.next(broken, { publish: guarded(shop, USERS).contract.publish });
    await desk.show(shop.web1, shop.bundle(mended));
    assert.equal(desk.routes.current.find('shop.localhost')?.auth?.kind, 'ways', what);
  }
});

test('authorities that nobody can read let nobody in; another list of keys is another mark', async () => {
  const desk = new Desk();
  const shop = new Shop('one');
  const line = shop.line('shop');
  const ca = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  const broken = shop.next(shop.first, { publish: [{ ...line, auth: { mtls: { ca } } }] });
  const answer = await desk.show(shop.web1, shop.bundle(broken));
  assert.deepEqual(answer.ok && answer.refused.map(({ code }) => code), ['SECRET_UNREADABLE']);
  const marks = new Set<string>();
  let version = broken;
  for (const keys of [[createOwnerKey().key], [createOwnerKey().key]]) {
    version = shop.next(version, { publish: [{ ...line, auth: { keys } }] });
    await desk.show(shop.web1, shop.bundle(version));
    const auth = desk.routes.current.find('shop.localhost')?.auth;
    assert.deepEqual(auth?.kind === 'ways' ? auth.keys : [], keys);
    if (auth?.kind === 'ways') marks.add(auth.mark);
  }
  assert.equal(marks.size, 2);
});
