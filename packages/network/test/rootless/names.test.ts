import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { environmentOf, hostsFileOf, hostsLines } from '../../src/index.ts';

const SERVICES = [
  { name: 'db', network: 'shop', address: '127.1.2.3', port: 5432 },
  { name: 'mail-in', network: 'shop', address: '127.1.2.4', port: 20_025 },
  { name: 'db', network: 'blog', address: '127.1.2.5', port: 5432 },
];

suite('names', () => {
  test('lines of a hosts file', () => {
    assert.equal(
      hostsLines(SERVICES),
      '127.1.2.3\tdb.shop.internal\n127.1.2.4\tmail-in.shop.internal\n127.1.2.5\tdb.blog.internal\n',
    );
  });

  test("a hosts file: the system's lines stay, except those that would shadow ours", () => {
    const system = '127.0.0.1 localhost # db.shop.internal\n10.0.0.1 old DB.shop.internal\n::1 localhost\n\n';
    assert.equal(
      hostsFileOf(system, SERVICES.slice(0, 1)),
      '127.0.0.1 localhost # db.shop.internal\n::1 localhost\n\n# moat: private network\n127.1.2.3\tdb.shop.internal\n',
    );
  });

  test('environment variables: the first network wins a name', () => {
    assert.deepEqual(environmentOf(SERVICES, { host: '127.0.0.1', port: 1080 }), {
      MOAT_DB_HOST: '127.1.2.3',
      MOAT_DB_PORT: '5432',
      MOAT_MAIL_IN_HOST: '127.1.2.4',
      MOAT_MAIL_IN_PORT: '20025',
      ALL_PROXY: 'socks5h://127.0.0.1:1080',
    });
    assert.equal(environmentOf([])['ALL_PROXY'], undefined);
  });
});
