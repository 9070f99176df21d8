import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { buildView, ipv6Of, type Contract } from '@moat/contract';
import type { Remap } from '@moat/core';
import fc from 'fast-check';
import { planeOf, tunnelNameOf } from '../../src/plane/layout.ts';
import type { PlaneLayout } from '../../src/plane/plane-layout.ts';
import { DEPLOYMENT, NOW, arbitraryPlane, keyOf, planeContract, planeMember, planeService } from './plane-contracts.ts';

const everything = { isExposed: () => true, isOwnSocket: () => false };

function layoutOf(
  contract: Contract,
  self = 'self',
  at: { now?: number; remap?: Remap; nearby?: string[] } = {},
): PlaneLayout | null {
  const { now = NOW, remap, nearby = [] } = at;
  return planeOf(buildView(contract, [], now), self, { exposed: everything, now, remap, nearby });
}

/** A hub with a device behind it, a member that both use, and one that nothing leads to. */
const shop = planeContract({
  members: [
    planeMember('self', 2, { keeper: true, tags: ['web'] }),
    planeMember('db', 3, { expires: '2026-11-21T13:00:00Z' }),
    planeMember('aside', 4),
    planeMember('phone', 9, { via: 'self' }),
    planeMember('pad', 10, { via: 'db' }),
  ],
  services: [
    planeService('web', 'tag:web', 80, { target: '127.0.0.1:3000', protocol: 'http' }),
    planeService('dns', 'self', 53, { protocol: 'udp' }),
    planeService('printer', 'self', 631, { target: '192.168.1.9:631' }),
    planeService('six', 'self', 82, { target: '[fd99::7]:80' }),
    planeService('loop6', 'self', 83, { target: '[::1]:80' }),
    planeService('named', 'self', 84, { target: 'db.lan:80' }),
    planeService('again', 'self', 80),
    planeService('store', 'db', 5432),
  ],
  access: [
    { from: ['phone'], to: ['web', 'store'] },
    { from: ['pad'], to: ['dns', 'printer', 'six'] },
    { from: ['self'], to: ['store', 'web'] },
  ],
  egress: [{ from: ['phone'], via: 'self' }],
});

function ranges(layout: PlaneLayout | null): Record<string, readonly string[]> {
  return Object.fromEntries((layout?.peers ?? []).map(({ member, allowedIps }) => [member, allowedIps]));
}

describe('the plane of a member', () => {
  it('has the members it shares a grant with as peers, devices behind it, and those behind them within', () => {
    const own = (name: string, host: number): string[] => [`10.77.0.${host}/32`, `${ipv6Of(DEPLOYMENT, name)}/128`];
    const layout = layoutOf(shop);
    assert.deepEqual(layout?.addresses, own('self', 2));
    assert.deepEqual(ranges(layout), { db: [...own('db', 3), ...own('pad', 10)], phone: own('phone', 9) });
    assert.deepEqual(
      layout?.peers.map(({ peer, publicKey }) => [peer === null, publicKey]),
      [
        [false, keyOf('db')],
        [true, keyOf('phone')],
      ],
    );
    assert.deepEqual(layout?.routes, ['10.77.0.0/16', 'fd00:4432:14c7::/64']);
    assert.equal(layout?.forwarding, 'outside');
    assert.deepEqual(ranges(layoutOf(shop, 'db')), {
      self: [...own('self', 2), ...own('phone', 9)],
      pad: own('pad', 10),
    });
    assert.deepEqual(layoutOf(shop, 'aside')?.peers, []);
  });

  it('says what is reached and what of its own is not served', () => {
    const layout = layoutOf(shop);
    assert.deepEqual(layout?.services, [
      { service: 'web', protocol: 'http', port: 80, instances: [{ member: 'self', address: '10.77.0.2' }] },
      { service: 'store', protocol: 'tcp', port: 5432, instances: [{ member: 'db', address: '10.77.0.3' }] },
    ]);
    assert.deepEqual(layout?.unserved, [
      { service: 'loop6', reason: 'TARGET_LOOPBACK6' },
      { service: 'named', reason: 'TARGET_NAMED' },
      { service: 'again', reason: 'PORT_TAKEN' },
    ]);
  });

  it('is none for who has ended, holds no place or has no key, and has no peers that are over', () => {
    assert.equal(layoutOf({ ...shop, state: 'ended' }), null);
    assert.equal(layoutOf({ ...shop, network: { ...shop.network, plane: 'rootless' } }), null);
    for (const name of ['phone', 'nobody']) assert.equal(layoutOf(shop, name), null);
    const end = Date.parse('2026-11-21T13:00:00Z');
    assert.equal(layoutOf(shop, 'db', { now: end }), null);
    assert.deepEqual(Object.keys(ranges(layoutOf(shop, 'self', { now: end }))), ['phone']);
    const late = planeOf(buildView(shop, [], NOW), 'self', { exposed: everything, now: end });
    assert.deepEqual(Object.keys(ranges(late)), ['phone'], 'an older view does not let it live on');
    const members = shop.members.map(({ wireguard, ...rest }) =>
      rest.name === 'self' ? rest : { ...rest, ...(wireguard === undefined ? {} : { wireguard }) },
    );
    assert.equal(layoutOf({ ...shop, members }), null);
    assert.ok(!('self' in ranges(layoutOf({ ...shop, members }, 'db'))), 'nor the devices behind it');
  });

  it('has no devices where post-quantum keys are required', () => {
    const layout = layoutOf({ ...shop, network: { ...shop.network, postQuantum: 'require' } });
    assert.deepEqual(
      Object.values(ranges(layout)).map((all) => all.length),
      [2],
    );
    assert.doesNotMatch(layout?.rules.chains ?? '', /10\.77\.0\.(?:9|10)\b/);
  });

  it('leaves by the first egress line in force', () => {
    const egress = [
      { from: ['self'], via: 'aside', expires: '2026-11-21T13:00:00Z' },
      { from: ['tag:web'], via: 'db' },
    ];
    const layout = layoutOf({ ...shop, egress });
    assert.equal(layout?.leavesBy, 'aside');
    assert.deepEqual(ranges(layout)['aside']?.slice(-2), ['0.0.0.0/0', '::/0']);
    assert.deepEqual(layout?.routes.slice(-2), ['0.0.0.0/0', '::/0']);
    const members = shop.members.map((member) => (member.name === 'db' ? planeMember('db', 3) : member));
    const later = layoutOf({ ...shop, members, egress }, 'self', { now: Date.parse('2026-11-21T13:00:00Z') });
    assert.equal(later?.leavesBy, 'db');
    assert.ok(!('aside' in ranges(later)));
  });

  it('gives one key to one peer: of two members that show the same the first has it', () => {
    const copied = shop.members.map((member) =>
      ['aside', 'pad'].includes(member.name) ? { ...member, wireguard: keyOf('db') } : member,
    );
    const access = [
      { from: ['self'], to: ['store', 'web'] },
      { from: ['aside', 'pad'], to: ['web'] },
    ];
    assert.deepEqual(Object.keys(ranges(layoutOf({ ...shop, members: copied, access }))), ['db', 'phone']);
    const own = shop.members.map((member) => (member.name === 'db' ? { ...member, wireguard: keyOf('self') } : member));
    assert.deepEqual(Object.keys(ranges(layoutOf({ ...shop, members: own }))), ['phone']);
  });

  it('has a name of its own for each place', () => {
    const peer = shop.members[0]?.node ?? '';
    assert.match(tunnelNameOf(DEPLOYMENT, peer), /^moat[a-z2-7]{10}$/);
    assert.notEqual(tunnelNameOf(DEPLOYMENT, peer), tunnelNameOf('bbbbbbbbbbbbbbbbbbbbbbbbbb', peer));
  });

  it('speaks in rules of the addresses that this machine knows, where the range is taken', () => {
    const layout = layoutOf(shop, 'self', { remap: { network: '10.77.0.0/16', as: '100.65.0.0/16' } });
    assert.doesNotMatch(layout?.rules.chains ?? '', /10\.77\./);
    assert.match(layout?.rules.chains ?? '', /ip daddr 100\.65\.0\.2/);
    assert.deepEqual(ranges(layout), ranges(layoutOf(shop)));
  });

  it('stays small and quick with 500 members', () => {
    const members = Array.from({ length: 500 }, (_, i) => planeMember(`m${i}`, i + 2, { tags: ['all'] }));
    const services = Array.from({ length: 50 }, (_, i) => planeService(`s${i}`, 'tag:all', i + 1));
    const access = [{ from: ['tag:all'], to: services.map(({ name }) => name) }];
    const layout = layoutOf(planeContract({ members, services, access }), 'm7');
    assert.equal(layout?.peers.length, 499);
    const { length } = layout?.rules.chains ?? '';
    assert.ok(length < 80_000, `${length} characters`);
  });
});

describe('packet rules as text', () => {
  it('are those of the golden file', () => {
    const file = new URL('golden/shop.nft', import.meta.url);
    const text = layoutOf(shop)?.rules.chains ?? '';
    if (process.env['MOAT_GOLDEN'] === 'write') writeFileSync(file, text);
    assert.equal(text, readFileSync(file, 'utf8'), 'MOAT_GOLDEN=write writes it anew');
  });

  const skip = process.getuid?.() === 0 && has('nft') ? false : 'needs nft and root';
  it('are understood by nft, whatever the contract', { skip }, () => {
    const tables = fc
      .sample(arbitraryPlane, process.env['MOAT_TEST'] === 'full' ? 500 : 60)
      .flatMap(({ contract }, i) => {
        // Inside one another, overlapping, with host bits.
        const nearby = [
          '192.168.1.4/16',
          '203.0.113.9/24',
          '203.0.113.9/32',
          '8.8.8.8/29',
          'fe80::1/64',
          '2a00:1::7/64',
        ];
        const layout = layoutOf(contract, 'self', i % 2 === 0 ? { nearby } : {});
        return layout === null ? [] : [`table inet moattest${i} {\n${layout.rules.chains}}\n`];
      });
    assert.ok(tables.length > 30);
    execFileSync('nft', ['-c', '-f', '-'], { input: tables.join('') });
  });
});

function has(tool: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', tool], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
