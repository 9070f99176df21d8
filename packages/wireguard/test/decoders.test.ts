import { isMoatError } from '@moat/core';
import fc from 'fast-check';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { canonicalCidr, canonicalInterfaceAddress, moveRange } from '../src/cidr.ts';
import { parseIpLink, parseIpRoutes } from '../src/ip.ts';
import { createPresharedKey, createWireguardKey, isWireguardKey, publicKeyOf } from '../src/keys.ts';
import { parseNftMarks, rulesDigest } from '../src/nft.ts';
import { parseSettings } from '../src/sysctl.ts';
import { parseWgDump } from '../src/wg.ts';

/** Records as literals make them. */
function plain<T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(fields, { noNullPrototype: true });
}

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64'));
const port = fc.integer({ min: 1, max: 65_535 });
const byte = fc.integer({ min: 0, max: 255 });
const ipv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join('.'));
const ipv6 = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 })
  .map((words) => canonicalInterfaceAddress(words.map((word) => word.toString(16)).join(':')).slice(0, -'/128'.length));
const cidr = fc.oneof(
  fc.tuple(ipv4, fc.integer({ min: 0, max: 32 })).map(([address, length]) => canonicalCidr(`${address}/${length}`)),
  fc.tuple(ipv6, fc.integer({ min: 0, max: 128 })).map(([address, length]) => canonicalCidr(`${address}/${length}`)),
);
const count = fc.integer({ min: 0, max: 2 ** 48 });
const peer = plain({
  publicKey: key,
  allowedIps: fc.uniqueArray(cidr, { maxLength: 4 }),
  endpoint: fc.option(plain({ host: fc.oneof(ipv4, ipv6), port })),
  handshakeAt: fc.option(fc.integer({ min: 1, max: 2 ** 33 }).map((seconds) => seconds * 1000)),
  received: count,
  sent: count,
  keepaliveSeconds: fc.integer({ min: 0, max: 65_535 }),
});

/** Whatever the text, a decoder returns or fails with its code. */
function survives(decode: (text: string) => unknown, shapes: fc.Arbitrary<string>): void {
  fc.assert(
    fc.property(shapes, (text) => {
      try {
        decode(text);
      } catch (error) {
        assert.ok(isMoatError(error, 'TUNNEL_FAILED'), String(error));
      }
    }),
    { numRuns: 500 },
  );
}

test('wg show dump: what is printed is read', () => {
  const dump = plain({ privateKey: fc.option(key), port, peers: fc.array(peer, { maxLength: 5 }) });
  fc.assert(
    fc.property(dump, (value) => {
      const lines = [
        [value.privateKey ?? '(none)', value.privateKey ?? '(none)', value.port, 'off'],
        ...value.peers.map(({ publicKey, endpoint, allowedIps, handshakeAt, received, sent, keepaliveSeconds }) => [
          publicKey,
          '(none)',
          endpoint === null
            ? '(none)'
            : endpoint.host.includes(':')
              ? `[${endpoint.host}]:${endpoint.port}`
              : `${endpoint.host}:${endpoint.port}`,
          allowedIps.length === 0 ? '(none)' : allowedIps.join(','),
          (handshakeAt ?? 0) / 1000,
          received,
          sent,
          keepaliveSeconds === 0 ? 'off' : keepaliveSeconds,
        ]),
      ];
      assert.deepEqual(parseWgDump(lines.map((line) => `${line.join('\t')}\n`).join('')), value);
    }),
  );
});

test('what tools never print ends in a coded error', () => {
  const words = fc.array(
    fc.oneof(key, fc.constantFrom('(none)', 'off', '0', '51820', '10.0.0.1/32', '[::1]:5', '1.2.3.4:5', '')),
  );
  const lines = fc.array(words.map((line) => line.join('\t'))).map((all) => all.join('\n'));
  survives(parseWgDump, fc.oneof(fc.string(), lines));
  const json = fc.json();
  const links = fc
    .array(
      fc.record({
        ifname: fc.json(),
        flags: fc.constantFrom([], ['UP'], 1),
        mtu: fc.constantFrom(1, 'x'),
        addr_info: fc.constantFrom([], [{}], [{ local: 'x', prefixlen: 1 }], null),
      }),
    )
    .map((value) => JSON.stringify(value));
  survives(parseIpLink, fc.oneof(fc.string(), json, links));
  survives(
    parseIpRoutes,
    fc.oneof(fc.string(), json, fc.constantFrom('[{"dst":1}]', '[{"dst":"x"}]', '[{"dst":"1.2.3.4/33"}]')),
  );
  survives(
    parseNftMarks,
    fc.oneof(
      fc.string(),
      json,
      fc.constantFrom('{"nftables":[{"chain":1}]}', '{"nftables":[{"chain":{}}]}', '{"nftables":1}'),
    ),
  );
  fc.assert(fc.property(fc.string(), (text) => parseSettings(text) instanceof Map));
});

test('ip: a link, its addresses, its routes', () => {
  const link =
    '[{},{"ifindex":5,"ifname":"a","flags":["NOARP","UP"],"mtu":1420,"addr_info":[{"family":"inet","local":"10.5.0.1","prefixlen":24},{"family":"inet6","local":"fd00:5::1","prefixlen":64}]}]';
  assert.deepEqual(parseIpLink(link), { up: true, mtu: 1420, addresses: ['10.5.0.1/24', 'fd00:5::1/64'] });
  const routes =
    '[{"dst":"default","scope":"link","flags":[]},{"dst":"10.6.0.9","flags":[]},{"dst":"10.7.0.0/24","table":"7"},{"dst":"10.99.0.0/24","protocol":"kernel"}]';
  assert.deepEqual(parseIpRoutes(routes), ['0.0.0.0/0', '10.6.0.9/32']);
  assert.deepEqual(parseIpRoutes('[{"dst":"default","metric":1024,"pref":"medium"}]'), ['::/0']);
  assert.deepEqual(parseIpRoutes(''), []);
});

test('nft: the mark of each table', () => {
  const chain = (table: string, name: string, family = 'inet') => ({ chain: { family, table, name, handle: 1 } });
  const digest = rulesDigest('chain a { }');
  const list = {
    nftables: [
      { metainfo: {} },
      chain('ours', `moat_${digest}`),
      chain('ours', 'a'),
      chain('other', 'input'),
      chain('ip4', 'moat_x', 'ip'),
    ],
  };
  assert.deepEqual(
    parseNftMarks(JSON.stringify(list)),
    new Map([
      ['ours', digest],
      ['other', null],
    ]),
  );
  assert.notEqual(rulesDigest('chain a { }'), rulesDigest('chain a {}'));
});

test('ranges have one form', () => {
  assert.equal(canonicalCidr('10.77.3.2/16'), '10.77.0.0/16');
  assert.equal(canonicalCidr('10.77.3.2'), '10.77.3.2/32');
  assert.equal(canonicalCidr('FD00:0:0:1::7/64'), 'fd00:0:0:1::/64');
  assert.equal(canonicalCidr('fd00::ffff/125'), 'fd00::fff8/125');
  assert.equal(canonicalCidr('2001:db8:0:0:1::/0'), '::/0');
  fc.assert(fc.property(cidr, (text) => assert.equal(canonicalCidr(text), text)));
  for (const text of [
    '',
    '10.0.0',
    '10.0.0.1/33',
    '::1/129',
    '10.0.0.1/-1',
    '10.0.0.1/8/8',
    'fe80::1%eth0',
    'a/b',
    '10.0.0.1/',
  ]) {
    assert.throws(
      () => canonicalCidr(text),
      (error) => isMoatError(error, 'TUNNEL_FAILED'),
      text,
    );
  }
});

test('an address moves to another range of the same size, and back', () => {
  const [from, to] = ['10.77.0.0/20', '100.80.16.0/20'];
  assert.equal(moveRange('10.77.3.2/32', from, to), '100.80.19.2/32');
  assert.equal(moveRange('10.77.0.0/20', from, to), to);
  for (const other of ['10.77.16.1/32', '10.77.0.0/16', '0.0.0.0/0', 'fd00::1/128', 'fd00::/20'])
    assert.equal(moveRange(other, from, to), other);
  const inside = fc.nat(0xfff).map((host) => `10.77.${host >> 8}.${host & 0xff}/32`);
  fc.assert(fc.property(inside, (address) => assert.equal(moveRange(moveRange(address, from, to), to, from), address)));
});

test('keys are those of wg', { skip: spawnSync('wg', ['--version']).error ? 'wg is not installed' : false }, () => {
  for (let index = 0; index < 20; index += 1) {
    const { privateKey, publicKey } = createWireguardKey();
    assert.equal(execFileSync('wg', ['pubkey'], { input: privateKey, encoding: 'utf8' }).trim(), publicKey);
    assert.equal(publicKeyOf(privateKey), publicKey);
    assert.ok(isWireguardKey(privateKey) && isWireguardKey(createPresharedKey()));
  }
  const theirs = execFileSync('wg', ['genkey'], { encoding: 'utf8' }).trim();
  assert.equal(publicKeyOf(theirs), execFileSync('wg', ['pubkey'], { input: theirs, encoding: 'utf8' }).trim());
  for (const text of ['', 'x', `${theirs}\n`, theirs.slice(1), `${theirs.slice(0, 42)}B=`])
    assert.ok(!isWireguardKey(text));
});
