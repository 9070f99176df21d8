import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  allocateAddress,
  checkAddresses,
  ipv6NetworkOf,
  ipv6Of,
  networksOverlap,
  parseNetwork,
  parseTarget,
  peerIdOfMultiaddr,
  type Contract,
} from '@moat/contract';
import { deployment, gateway, web1 } from './deployment.fixture.ts';

function members(...addresses: string[]): Pick<Contract, 'network' | 'members'> {
  return {
    network: { ipv4: '10.77.0.0/24', plane: 'auto' },
    members: addresses.map((ipv4, i) => ({ name: `m${i}`, ipv4, tags: [] })),
  };
}

test('a network is canonical, private and of a usable size', () => {
  assert.deepEqual(parseNetwork('10.77.0.0/16'), { first: 0x0a4d0000, last: 0x0a4dffff, prefix: 16 });
  for (const cidr of ['10.0.0.0/8', '172.16.0.0/12', '192.168.7.0/29', '100.64.0.0/10', '198.18.0.0/15']) {
    parseNetwork(cidr);
  }
  for (const cidr of [
    '',
    '10.77.0.0',
    '10.77.0.1/16',
    '10.77.0.0/30',
    '10.77.0.0/016',
    '10.77.0.0/16/2',
    '10.77.0/16',
    '010.77.0.0/16',
    '11.0.0.0/8',
    '127.0.0.0/8',
    '172.16.0.0/11',
    '8.8.8.0/24',
    '224.0.0.0/8',
    '::/16',
    ' 10.77.0.0/16',
  ]) {
    assert.throws(() => parseNetwork(cidr), { code: 'ADDRESS_INVALID' }, cidr);
  }
});

test('networks overlap when one lies in the other', () => {
  assert.equal(networksOverlap('10.77.0.0/16', '10.0.0.0/8'), true);
  assert.equal(networksOverlap('10.77.0.0/24', '10.77.0.0/16'), true);
  assert.equal(networksOverlap('10.77.0.0/24', '10.77.1.0/24'), false);
});

test('the lowest free address is given out, reserved ones never', () => {
  assert.equal(allocateAddress('10.77.0.0/16', []), '10.77.0.2');
  assert.equal(allocateAddress('10.77.0.0/16', ['10.77.0.2', '10.77.0.4']), '10.77.0.3');
  const taken: string[] = [];
  for (let i = 0; i < 5; i++) taken.push(allocateAddress('192.168.7.8/29', taken));
  assert.deepEqual(taken, ['192.168.7.10', '192.168.7.11', '192.168.7.12', '192.168.7.13', '192.168.7.14']);
  assert.throws(() => allocateAddress('192.168.7.8/29', taken), { code: 'ADDRESS_EXHAUSTED' });
});

test('what allocateAddress gives out, checkAddresses takes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 16, max: 29 }), fc.nat({ max: 200 }), (prefix, count) => {
      const cidr = `10.0.0.0/${prefix}`;
      const taken: string[] = [];
      for (let i = 0; i < Math.min(count, 2 ** (32 - prefix) - 3); i++) taken.push(allocateAddress(cidr, taken));
      checkAddresses({ ...members(...taken), network: { ipv4: cidr, plane: 'auto' } });
    }),
  );
});

test('addresses outside, reserved or taken twice are refused with their place', () => {
  checkAddresses(members('10.77.0.2', '10.77.0.254'));
  for (const bad of ['10.77.0.0', '10.77.0.1', '10.77.0.255', '10.77.1.2', '9.255.255.255', 'x', '::1']) {
    assert.throws(
      () => checkAddresses(members('10.77.0.2', bad)),
      (error: { code: string; details: { path: string } }) => {
        assert.equal(error.code, 'ADDRESS_INVALID');
        assert.equal(error.details.path, 'members[1].ipv4');
        return true;
      },
    );
  }
  assert.throws(() => checkAddresses(members('10.77.0.2', '10.77.0.2')), { code: 'ADDRESS_INVALID' });
});

test('IPv6 is derived: fd, 40 bits of the id, a hash of the name', () => {
  // 'tk7i5j7c' in base32 is 9abe8ea7e2.
  assert.equal(deployment.slice(0, 8), 'tk7i5j7c');
  assert.equal(ipv6NetworkOf(deployment), 'fd9a:be8e:a7e2::/64');
  const address = ipv6Of(deployment, 'web-1');
  assert.equal(address, 'fd9a:be8e:a7e2:0:bd6c:499:fe0:6175');
  assert.notEqual(address, ipv6Of(deployment, 'web-2'));
  assert.throws(() => ipv6Of('x', 'web-1'), { code: 'GENESIS_MISMATCH' });
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z2-7]{26}$/), fc.stringMatching(/^[a-z]{1,63}$/), (id, name) => {
      const text = ipv6Of(id, name);
      assert.ok(isIPv6(text));
      // The URL parser writes the RFC 5952 form.
      assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
    }),
  );
});

test('a multiaddr ends in the PeerId it leads to', () => {
  assert.equal(peerIdOfMultiaddr(`/ip4/192.0.2.1/tcp/4410/p2p/${web1.peer}`), web1.peer);
  assert.equal(peerIdOfMultiaddr(`/ip6/2001:db8::1/tcp/443/tls/ws/p2p/${web1.peer}`), web1.peer);
  const relayed = `/dns4/gw.example.com/tcp/4410/p2p/${gateway.peer}/p2p-circuit/p2p/${web1.peer}`;
  assert.equal(peerIdOfMultiaddr(relayed), web1.peer);
  for (const bad of [
    '',
    '/',
    web1.peer,
    `/p2p/`,
    `/ip4/192.0.2.1/tcp/4410`,
    `/ip4/192.0.2.256/tcp/4410/p2p/${web1.peer}`,
    `/ip4/192.0.2.1/tcp/0/p2p/${web1.peer}`,
    `/ip4/192.0.2.1/tcp/65536/p2p/${web1.peer}`,
    `/ip4/192.0.2.1/tcp/4410/p2p/${web1.peer}/`,
    `/ip4/192.0.2.1/tcp/4410/p2p/${web1.peer}x`,
    `/dns4/a b/tcp/1/p2p/${web1.peer}`,
    `/unix/tmp/p2p/${web1.peer}`,
    `/ip4/192.0.2.1/tcp/4410/p2p/${web1.peer}/p2p-circuit`,
    `/dns4/${'a.'.repeat(400)}com/p2p/${web1.peer}`,
  ]) {
    assert.throws(() => peerIdOfMultiaddr(bad), { code: 'ADDRESS_INVALID' }, bad);
  }
});

test('a target is host:port', () => {
  assert.deepEqual(parseTarget('127.0.0.1:3000'), { host: '127.0.0.1', port: 3000 });
  assert.deepEqual(parseTarget('localhost:65535'), { host: 'localhost', port: 65_535 });
  assert.deepEqual(parseTarget('[::1]:1'), { host: '::1', port: 1 });
  for (const bad of [
    '',
    '3000',
    ':80',
    'a:',
    'a:0',
    'a:65536',
    'a:080',
    '::1:80',
    '[::1]',
    '[zz]:80',
    '127.1:80',
    '999.1.1.1:80',
    'a b:80',
    'http://a:80',
    '-a:80',
  ]) {
    assert.throws(() => parseTarget(bad), { code: 'CONTRACT_INVALID' }, bad);
  }
});

test('IP addresses are told apart as the machine does', () => {
  const texts = fc.oneof(
    fc.ipV4(),
    fc.ipV4Extended(),
    fc.ipV6(),
    fc.string(),
    fc.stringMatching(/^[0-9a-f:.%]{0,46}$/),
    fc.constantFrom(
      '',
      '::',
      '::1',
      '1::',
      '1.2.3.4.',
      '.1.2.3.4',
      '1.2.3',
      '01.2.3.4',
      '::ffff:1.2.3.4',
      'fe80::1%lo',
    ),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const leads = (address: string): boolean => {
        try {
          peerIdOfMultiaddr(`${address}/tcp/1/p2p/${web1.peer}`);
          return true;
        } catch {
          return false;
        }
      };
      assert.equal(leads(`/ip4/${text}`), isIPv4(text), text);
      assert.equal(leads(`/ip6/${text}`), isIPv6(text) && !text.includes('%'), text);
    }),
    { numRuns: 1000 },
  );
});

test('random text ends in an address or a code', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 80 }), (text) => {
      for (const parse of [parseNetwork, peerIdOfMultiaddr, parseTarget]) {
        try {
          parse(text);
        } catch (error) {
          assert.match((error as { code: string }).code, /^(?:ADDRESS|CONTRACT)_INVALID$/);
        }
      }
    }),
  );
});
