import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { suite, test } from 'node:test';
import { isMoatError } from '@moat/core';
import { ExposedTable, type SocketAddress } from '../src/index.ts';
import { parseTarget } from '../src/exposed.ts';

const SHOP = 'a'.repeat(26);
const OTHER = 'b'.repeat(26);

function table(...own: SocketAddress[]): ExposedTable {
  return new ExposedTable({ ownSockets: () => own });
}

suite('exposed', () => {
  test('nothing is exposed until somebody exposes it, and only to that deployment', () => {
    const exposed = table();
    assert.equal(exposed.isExposed('127.0.0.1:3000', SHOP, false), false);
    assert.deepEqual(exposed.add({ deployment: SHOP, target: '3000', public: false }), {
      deployment: SHOP,
      target: '127.0.0.1:3000',
      public: false,
    });
    assert.equal(exposed.isExposed('127.0.0.1:3000', SHOP, false), true);
    assert.equal(exposed.isExposed('127.0.0.1:3000', SHOP, true), false);
    assert.equal(exposed.isExposed('127.0.0.1:3000', OTHER, false), false);
    assert.equal(exposed.isExposed('127.0.0.1:3001', SHOP, false), false);
    assert.equal(exposed.isExposed('127.0.0.1:22', SHOP, false), false);
    assert.equal(exposed.remove(SHOP, 'localhost:3000'), true);
    assert.equal(exposed.isExposed('127.0.0.1:3000', SHOP, false), false);
    assert.deepEqual(exposed.list(), []);
  });

  test('the names of loopback are one; every other host only when named', () => {
    const exposed = table();
    exposed.add({ deployment: SHOP, target: 'localhost:3000', public: true });
    for (const target of [
      '127.0.0.1:3000',
      '[::1]:3000',
      'localhost:3000',
      'LOCALHOST:3000',
      '[::ffff:127.0.0.1]:3000',
    ]) {
      assert.equal(exposed.isExposed(target, SHOP, true), true, target);
    }
    for (const target of [
      '10.0.0.5:3000',
      '127.0.0.2:3000',
      'db.lan:3000',
      '[fd00::1]:3000',
      '0.0.0.0:3000',
      '[::]:3000',
    ]) {
      assert.equal(exposed.isExposed(target, SHOP, false), false, target);
    }
    exposed.add({ deployment: SHOP, target: 'db.lan:3000', public: false });
    assert.equal(exposed.isExposed('DB.lan:3000', SHOP, false), true);
  });

  test("never Moat's own sockets, under any name", () => {
    const lan = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
    const exposed = table(
      { host: '0.0.0.0', port: 4410 },
      { host: '127.93.4.17', port: 5432 },
      { host: '::1', port: 9 },
    );
    const names = [
      '4410',
      'localhost:4410',
      '[::1]:4410',
      '127.0.0.1:4410',
      '127.8.9.1:4410',
      '127.93.4.17:5432',
      '[::ffff:127.0.0.1]:4410',
      '[0:0::1]:9',
    ];
    for (const { address, family } of lan) if (family === 'IPv4') names.push(`${address}:4410`);
    for (const target of names) {
      assert.throws(
        () => exposed.add({ deployment: SHOP, target, public: false }),
        (error: unknown) => isMoatError(error, 'TARGET_OWN'),
        target,
      );
    }
    exposed.add({ deployment: SHOP, target: '127.93.4.18:5432', public: false });
  });

  test('a socket that became ours later is no target any more', () => {
    const own: SocketAddress[] = [];
    const exposed = new ExposedTable({ ownSockets: () => own });
    exposed.add({ deployment: SHOP, target: '3000', public: false });
    own.push({ host: '::', port: 3000 });
    assert.equal(exposed.isExposed('127.0.0.1:3000', SHOP, false), false);
  });

  for (const text of [
    '',
    ':',
    '0',
    '65536',
    '-1',
    '3000 ',
    ' 3000',
    '03x',
    'host',
    'host:',
    ':3000',
    'a b:1',
    'user@host:1',
    'http://a:1',
    '1.2.3:80',
    '127.1:80',
    '0x7f.1:80',
    '2130706433:80',
    '256.1.1.1:80',
    '[1.2.3.4]:80',
    '[::1:80',
    '::1:80',
    '[zz]:80',
    '0.0.0.0:80',
    '[::]:80',
    '[0::0]:80',
    '[::ffff:0.0.0.0]:80',
    `${'a'.repeat(300)}:80`,
    'a\n:80',
    'a\0:80',
    'unix:/x',
    '0:80',
  ]) {
    test(`not a target: ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(
        () => parseTarget(text),
        (error: unknown) => isMoatError(error, 'TARGET_INVALID'),
      );
      assert.equal(table().isExposed(text, SHOP, false), false);
    });
  }
});
