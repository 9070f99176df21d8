/** What a contract says about the WireGuard plane alone: datagrams, devices, who leaves to the internet, post-quantum keys. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  buildContract,
  buildView,
  checkContract,
  fileFromContract,
  hashCanonical,
  parseContract,
  parseDeploymentFile,
  planChanges,
  planWarnings,
  resolvePlaces,
  rollbackContract,
  whatBothAllow,
  type Contract,
  type Member,
} from '@moat/contract';
import { NOW, ana, contract, deployment } from './deployment.fixture.ts';

const KEY = Buffer.alloc(32, 5).toString('base64');
const phone: Member = { name: 'phone', via: 'web-1', wireguard: KEY, ipv4: '10.77.0.9', tags: ['mobile'] };
const dns: Contract['services'][number] = {
  name: 'dns',
  on: ['db-1'],
  port: 5432,
  target: '127.0.0.1:53',
  protocol: 'udp',
};
const full: Contract = {
  ...contract,
  network: { ...contract.network, postQuantum: 'prefer' },
  members: [...contract.members, phone],
  services: [...contract.services, dns],
  egress: [{ from: ['phone', 'tag:web'], via: 'web-1', expires: '2026-11-22T00:00:00Z' }],
};

function refused(changes: Partial<Contract>, path: string): void {
  assert.throws(() => checkContract({ ...full, ...changes }), { code: 'CONTRACT_INVALID', details: { path } }, path);
}

function withPhone(change: Partial<Member>): Pick<Contract, 'members'> {
  return { members: [...contract.members, { ...phone, ...change }] };
}

describe('fields of the WireGuard plane', () => {
  it('are parsed, checked and hashed; without them nothing is as before but the same', () => {
    checkContract(full);
    assert.deepEqual(parseContract(JSON.stringify(full)), full);
    assert.notEqual(hashCanonical(full), hashCanonical({ ...full, network: contract.network }));
    for (const egress of [[], [{ from: [], via: 'web-1' }], [{ from: ['phone'] }]]) {
      assert.throws(() => parseContract({ ...full, egress }), { code: 'CONTRACT_INVALID' });
    }
    assert.throws(() => parseContract({ ...full, egress: [{ from: ['phone'], via: 'web-1', to: 'all' }] }), {
      code: 'CONTRACT_TOO_NEW',
    });
    assert.throws(() => parseContract({ ...full, network: { ...full.network, postQuantum: 'off' } }), {
      code: 'CONTRACT_INVALID',
    });
  });

  it('a device is behind a member with a machine, and offers, keeps and witnesses nothing', () => {
    refused(withPhone({ via: 'nobody' }), 'members[4].via');
    refused(withPhone({ via: 'phone' }), 'members[4].via');
    refused(withPhone({ node: ana.peer }), 'members[4].via');
    refused(withPhone({ keeper: true }), 'members[4].via');
    refused(withPhone({ tags: ['web'] }), 'services[0].on[0]');
    refused({ services: [...contract.services, { ...dns, on: ['phone'] }] }, 'services[2].on[0]');
    const [place] = resolvePlaces(full, [], NOW).slice(-1);
    assert.deepEqual([place?.state, place?.peer, place?.via, place?.wireguard], ['device', null, 'web-1', KEY]);
    assert.equal(buildView(full, [], NOW).membersOn('dns').length, 1);
  });

  it('datagrams are not published, checked or introduced', () => {
    const [line] = contract.publish;
    assert.ok(line);
    refused({ publish: [{ ...line, service: 'dns' }] }, 'publish[0].service');
    const rules = { paths: [{ prefix: '/dns', service: 'dns' }] };
    refused({ publish: [{ ...line, rules }] }, 'publish[0].rules.paths');
    refused({ services: [...contract.services, { ...dns, health: '/' }] }, 'services[2].health');
    refused({ services: [...contract.services, { ...dns, proxyProtocol: 'v2' }] }, 'services[2].proxyProtocol');
  });

  it('egress goes through a member with a machine, for a device through its own', () => {
    refused({ egress: [{ from: ['phone'], via: 'phone' }] }, 'egress[0].via');
    refused({ egress: [{ from: ['laptop'], via: 'nobody' }] }, 'egress[0].via');
    refused({ egress: [{ from: ['nobody'], via: 'web-1' }] }, 'egress[0].from[0]');
    refused({ egress: [{ from: ['laptop', 'phone'], via: 'db-1' }] }, 'egress[0].from[1]');
    const ends = buildView(full, [], NOW).nextExpiry(Date.parse('2026-11-21T00:00:00Z'));
    assert.equal(ends, Date.parse('2026-11-22T00:00:00Z'), 'a view is built again when an egress line ends');
  });

  it('in a fork only what both branches say', () => {
    const both = (change: Partial<Contract>): Contract => whatBothAllow(full, { ...full, ...change });
    assert.deepEqual(both({}), full);
    assert.deepEqual(whatBothAllow(contract, full), { ...contract, network: full.network });
    for (const via of ['db-1', 'laptop']) {
      assert.ok(!both(withPhone({ via })).members.some(({ name }) => name === 'phone'), `moved behind ${via}`);
    }
    assert.ok(!both(withPhone({ wireguard: Buffer.alloc(32, 6).toString('base64') })).members.some(({ via }) => via));
    assert.deepEqual(both({ egress: [{ from: ['phone'], via: 'web-1', expires: '2026-11-21T00:00:00Z' }] }).egress, [
      { from: ['phone'], via: 'web-1', expires: '2026-11-21T00:00:00Z' },
    ]);
    assert.ok(!('egress' in both({ egress: [{ from: ['phone', 'tag:web'], via: 'db-1' }] })));
    assert.ok(!('egress' in both({ egress: [{ from: ['laptop'], via: 'web-1' }] })));
    const strict = { ...contract.network, postQuantum: 'require' as const };
    assert.equal(both({ network: strict }).network.postQuantum, 'require');
    assert.equal(whatBothAllow({ ...full, network: strict }, full).network.postQuantum, 'require');
    assert.equal(both({ services: [...contract.services, { ...dns, protocol: 'tcp' }] }).services.length, 2);
  });

  it('a rollback takes egress along, for those who are still there', () => {
    const { egress: _, ...rest } = full;
    const moved = { ...rest, version: 5, members: [...contract.members, { ...phone, via: 'db-1' }] };
    assert.deepEqual(rollbackContract(moved, full).egress, [
      { from: ['tag:web'], via: 'web-1', expires: '2026-11-22T00:00:00Z' },
    ]);
    const back = rollbackContract({ ...full, version: 5 }, contract);
    assert.ok(!('egress' in back));
    checkContract(back);
  });

  it('a plan names each', () => {
    const texts = planChanges(contract, full).map(({ kind, text }) => `${kind} ${text}`);
    assert.deepEqual(texts, [
      'add network.postQuantum prefer',
      'add member phone 10.77.0.9, tags mobile, device behind web-1',
      'add service dns:5432 (udp) on db-1, at 127.0.0.1:53 there',
      'add phone tag:web may leave to the internet by web-1, until 2026-11-22T00:00:00Z',
    ]);
    const { wireguard: _, ...keyless } = phone;
    const to = { ...full, members: [...contract.members, keyless] };
    const [change] = planChanges(full, to);
    assert.equal(change?.text, `member phone: WireGuard key ${KEY} → none`);
    const warnings = planWarnings({ from: full, to, now: Date.parse('2026-11-22T00:00:00Z') });
    assert.deepEqual(
      warnings.flatMap(({ code, path }) => (code === 'NO_WIREGUARD_KEY' || path === 'egress[0]' ? [path] : [])),
      ['egress[0]', 'members.phone'],
    );
  });
});

describe('a required post-quantum key', () => {
  it('shuts devices out, and says so', () => {
    const to = { ...full, network: { ...full.network, postQuantum: 'require' as const } };
    const codes = planWarnings({ from: full, to, now: NOW }).map(({ code, path }) => `${code} ${path}`);
    assert.ok(codes.includes('DEVICE_SHUT_OUT members.phone'));
  });
});

describe('a deployment file', () => {
  it('says the same as the contract, and keeps keys and ends', () => {
    const text = fileFromContract(full);
    assert.match(text, /phone: \{ via: web-1, tags: \[mobile\] \}/);
    assert.match(text, /egress:\n {2}- \{ from: \[phone, tag:web\], via: web-1, expires: 2026-11-22T00:00:00Z \}/);
    const { file } = parseDeploymentFile(text, 'moat.yaml');
    assert.ok(file);
    const input = {
      file,
      deployment,
      current: full,
      claims: [],
      ownerKeys: [],
      now: NOW,
      random: (n: number) => Buffer.alloc(n),
    };
    assert.equal(buildContract(input), full);
    const deviceKeys = new Map([['phone', Buffer.alloc(32, 6).toString('base64')]]);
    const next = buildContract({ ...input, deviceKeys });
    assert.equal(next.members.at(-1)?.wireguard, deviceKeys.get('phone'));
    for (const [name, code] of [
      ['web-1', 'CONTRACT_INVALID'],
      ['nobody', 'MEMBER_UNKNOWN'],
    ] as const) {
      assert.throws(() => buildContract({ ...input, deviceKeys: new Map([[name, KEY]]) }), { code });
    }
    const invites = new Map([['phone', { key: ana.key, expires: '2026-11-21T00:00:00Z' }]]);
    assert.throws(() => buildContract({ ...input, invites }), { code: 'CONTRACT_INVALID' });
  });

  it('is refused where the contract would be', () => {
    const base = 'version: 1\nname: shop\nmembers:\n  a: { keeper: true }\n  phone: { via: a, tags: [m] }\n';
    const findings = (rest: string): string[] =>
      parseDeploymentFile(base + rest, 'moat.yaml').diagnostics.map(({ path, message }) => `${path} ${message}`);
    assert.deepEqual(findings(''), []);
    assert.deepEqual(findings('services:\n  s: { on: [tag:m], port: 53, protocol: udp }\n'), [
      'services.s.on phone is a device: it offers no service',
    ]);
    const udp = 'services:\n  s: { on: a, port: 53, protocol: udp }\n  t: { on: a, port: 53 }\n';
    assert.deepEqual(findings(udp), [], 'TCP and UDP have ports of their own');
    assert.deepEqual(findings(`${udp}publish:\n  s: { gateway: apps.example.com, service: s }\n`), [
      'publish.s.service is a udp service: a gateway carries no datagrams',
    ]);
    assert.deepEqual(findings('egress:\n  - { from: a, via: phone }\n'), ['egress[0].via phone is a device itself']);
    assert.deepEqual(findings('  b:\negress:\n  - { from: phone, via: b }\n'), [
      'egress[0].from[0] phone is a device behind a, and leaves by it or not at all',
    ]);
    assert.deepEqual(findings('  c: { via: x, keeper: true }\n').length, 2);
  });
});
