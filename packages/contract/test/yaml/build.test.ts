import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isMoatError } from '@moat/core';
import {
  buildContract,
  checkContract,
  createClaim,
  createGenesis,
  deploymentIdOf,
  fileFromContract,
  formatDiagnostic,
  gatewaysToResolve,
  ownerSetOf,
  ownersOf,
  parseDeploymentFile,
  planChanges,
  publicationsOf,
  witnessClaim,
  type BuildInput,
  type Contract,
  type DeploymentFile,
  type Member,
  type MemberClaim,
} from '@moat/contract';
import fc from 'fast-check';
import {
  NOW,
  ana,
  ben,
  contract,
  db1,
  deployment,
  gateway,
  laptop,
  laptopClaim,
  stranger,
  web1,
} from '../deployment.fixture.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const SHOP = `version: 1
name: shop
anchors: [gw.example.com]
members:
  web-1: { tags: [web], keeper: true }
  db-1: {}
  laptop: { expires: 30d }
services:
  web: { on: [tag:web], port: 80, target: 127.0.0.1:3000, protocol: http }
  db: { on: [db-1], port: 5432 }
access:
  - { from: [tag:web], to: [db] }
  - { from: [laptop], to: [web, db], expires: 1h }
publish:
  shop: { gateway: apps.example.com, service: web }
`;

function fileOf(text: string): DeploymentFile {
  const { file, diagnostics } = parseDeploymentFile(text, 'moat.yaml');
  assert.ok(file, diagnostics.map(formatDiagnostic).join('\n'));
  return file;
}

let salts = 0;

function build(text: string, changes: Partial<BuildInput> = {}): Contract {
  return buildContract({
    file: fileOf(text),
    deployment,
    current: null,
    claims: [],
    ownerKeys: [{ name: 'ana', key: ana.key }],
    gateways: new Map([
      [
        'apps.example.com',
        { domain: 'apps.example.com', peers: [`/dns4/apps.example.com/tcp/4410/p2p/${gateway.peer}`] },
      ],
    ]),
    anchors: new Map([['gw.example.com', [`/dns4/gw.example.com/tcp/4410/p2p/${gateway.peer}`]]]),
    pins: new Map([['web-1', { node: web1.peer }]]),
    now: NOW,
    random: (bytes) => new Uint8Array(bytes).fill(++salts),
    ...changes,
  });
}

/** Builds on a version with nothing known but that version. */
function rebuild(text: string, current: Contract, changes: Partial<BuildInput> = {}): Contract {
  return build(text, { current, ownerKeys: [], gateways: new Map(), anchors: new Map(), pins: new Map(), ...changes });
}

const first = build(SHOP);
const member = (of: Contract, name: string): Contract['members'][number] | undefined =>
  of.members.find((one) => one.name === name);
const coded =
  (code: string) =>
  (error: unknown): boolean =>
    isMoatError(error, code);

describe('the first version', () => {
  it('has the writer as owner, and its id from the same owners', () => {
    assert.equal(first.version, 0);
    const owners = ownersOf(fileOf(SHOP), null, [{ name: 'ana', key: ana.key }]);
    assert.deepEqual(first.owners, owners);
    assert.deepEqual(owners, { threshold: 1, keys: [{ name: 'ana', key: ana.key, weight: 1 }] });
    assert.equal(deploymentIdOf(createGenesis(ownerSetOf(owners), new Uint8Array(16))).length, 26);
  });

  it('has the same network in a plan and in what is applied, though the id is made in between', () => {
    const planned = build(SHOP, { deployment: 'a'.repeat(26) });
    assert.deepEqual(planned.network, first.network);
    assert.deepEqual(planChanges(null, planned), planChanges(null, first));
    const other = build(SHOP, { ownerKeys: [{ name: 'ben', key: ben.key }] });
    assert.notEqual(other.network.ipv4, first.network.ipv4);
  });

  it('gives each member an address, in a network of its own', () => {
    const [network] = first.network.ipv4.split('.0.0/16');
    assert.deepEqual(
      first.members.map(({ ipv4 }) => ipv4),
      [`${network}.0.2`, `${network}.0.3`, `${network}.0.4`],
    );
  });

  it('needs a keeper with a machine, owners, and pins', () => {
    assert.throws(() => build(SHOP, { pins: new Map() }), coded('KEEPER_MISSING'));
    assert.throws(() => build(SHOP, { pins: new Map([['db-1', { node: web1.peer }]]) }), coded('KEEPER_MISSING'));
    assert.throws(() => build(SHOP, { pins: new Map([['nobody', { node: web1.peer }]]) }), coded('MEMBER_UNKNOWN'));
    assert.throws(() => build(SHOP, { ownerKeys: [] }), coded('OWNERS_UNREACHABLE'));
    assert.throws(
      () => build(SHOP.replace('name: shop', 'name: shop\nowners: { threshold: 2 }')),
      coded('OWNERS_UNREACHABLE'),
    );
    assert.throws(() => build(SHOP, { gateways: new Map() }), coded('GATEWAY_UNRESOLVED'));
    assert.throws(() => build(SHOP, { anchors: new Map() }), coded('ANCHOR_UNRESOLVED'));
  });
});

describe('the next version', () => {
  it('is the same object when nothing changed, whenever it is applied', () => {
    for (const later of [0, HOUR, 40 * DAY]) assert.equal(rebuild(SHOP, first, { now: NOW + later }), first);
  });

  it('keeps addresses, pins and salts by name, and gives a new member a new address', () => {
    const next = rebuild(SHOP.replace('  db-1: {}', '  cache-1: {}\n  db-1: {}'), first);
    assert.equal(next.version, 1);
    assert.equal(member(next, 'db-1')?.ipv4, member(first, 'db-1')?.ipv4);
    assert.equal(member(next, 'web-1')?.node, web1.peer);
    assert.equal(member(next, 'cache-1')?.ipv4, first.members[0]?.ipv4.replace(/\.2$/, '.5'));
    assert.deepEqual(next.publish, first.publish);
    assert.deepEqual(next.anchors, first.anchors);
    assert.deepEqual(next.owners, first.owners);
  });

  it('treats a renamed member as one removed and one added, at another address', () => {
    const next = rebuild(SHOP.replaceAll('db-1', 'db-9'), first);
    assert.equal(member(next, 'db-1'), undefined);
    assert.ok(!first.members.some(({ ipv4 }) => ipv4 === member(next, 'db-9')?.ipv4));
  });

  it('reuses the address of a removed member rather than fail', () => {
    const small = (name: string): string =>
      `version: 1\nname: a\nnetwork: { ipv4: 10.1.0.0/29 }\nmembers: { web-1: { keeper: true }, m1: {}, m2: {}, m3: {}, ${name}: {} }\n`;
    const full = build(small('m4'));
    assert.equal(member(rebuild(small('m5'), full), 'm5')?.ipv4, member(full, 'm4')?.ipv4);
  });

  it('moves members when the network moves, and keeps the addresses that fit', () => {
    const next = rebuild(SHOP.replace('name: shop', 'name: shop\nnetwork: { ipv4: 10.9.0.0/24 }'), first);
    checkContract(next);
    assert.equal(member(next, 'web-1')?.ipv4, '10.9.0.2');
    assert.equal(rebuild(SHOP, next), next);
  });

  it('lets a written address win over a kept one', () => {
    const held = member(first, 'web-1')?.ipv4 ?? '';
    const next = rebuild(SHOP.replace('db-1: {}', `db-1: { ipv4: ${held} }`), first);
    assert.equal(member(next, 'db-1')?.ipv4, held);
    assert.notEqual(member(next, 'web-1')?.ipv4, held);
  });
});

describe('machines', () => {
  const text = `version: 1
name: shop
network: { ipv4: 10.77.0.0/16 }
members:
  web-1: { tags: [web], keeper: true }
  db-1: {}
  laptop: { tags: [web], expires: 60d }
`;

  it('that were witnessed are pinned by the next version', () => {
    const next = rebuild(text, contract, { claims: [laptopClaim()] });
    assert.equal(member(next, 'laptop')?.node, laptop.peer);
    assert.equal(member(next, 'laptop')?.invite, undefined);
    assert.equal(rebuild(text, next, { claims: [laptopClaim()] }), next);
  });

  it('that did not come leave the invite as it was', () => {
    assert.deepEqual(member(rebuild(text, contract), 'laptop')?.invite, member(contract, 'laptop')?.invite);
  });

  it('lose their place to node: in the file and to a new invite', () => {
    const pinned = rebuild(text.replace('db-1: {}', `db-1: { node: ${stranger.peer} }`), contract);
    assert.equal(member(pinned, 'db-1')?.node, stranger.peer);
    const invite = { key: ben.key, expires: '2026-11-20T12:00:00Z' };
    const invited = rebuild(text, contract, { invites: new Map([['db-1', invite]]) });
    assert.deepEqual(member(invited, 'db-1')?.invite, invite);
    assert.equal(member(invited, 'db-1')?.node, undefined);
    const both = text.replace('db-1: {}', `db-1: { node: ${db1.peer} }`);
    assert.throws(() => rebuild(both, contract, { invites: new Map([['db-1', invite]]) }), coded('CONTRACT_INVALID'));
    assert.throws(() => rebuild(text, contract, { invites: new Map([['db-7', invite]]) }), coded('MEMBER_UNKNOWN'));
  });

  it('take their WireGuard key along when they leave', () => {
    const key = Buffer.alloc(32, 9).toString('base64');
    const members = contract.members.map((one) => (one.name === 'db-1' ? { ...one, wireguard: key } : one));
    const current = { ...contract, members };
    assert.equal(member(rebuild(text, current), 'db-1')?.wireguard, key);
    const other = rebuild(text.replace('db-1: {}', `db-1: { node: ${stranger.peer} }`), current);
    assert.equal(member(other, 'db-1')?.wireguard, undefined);
  });

  it('take over the WireGuard key that a pinned machine claims, unless another member has it', () => {
    const [key, next] = [9, 10].map((byte) => Buffer.alloc(32, byte).toString('base64'));
    const claim = (wireguard: string): MemberClaim => {
      const details = { nonce: contract.publish[0]?.salt ?? '', member: 'db-1', wireguard };
      const own = createClaim({ deployment, details, nodeSigner: db1.signer, inviteSigner: null });
      return { ...witnessClaim(own, NOW, web1.signer), details };
    };
    const withKeys = (keys: Record<string, string | undefined>): Contract => ({
      ...contract,
      members: contract.members.map((one) => (keys[one.name] ? { ...one, wireguard: keys[one.name] } : one) as Member),
    });
    for (const current of [contract, withKeys({ 'db-1': key })]) {
      assert.equal(member(rebuild(text, current, { claims: [claim(next ?? '')] }), 'db-1')?.wireguard, next);
    }
    const taken = rebuild(text, withKeys({ 'web-1': key }), { claims: [claim(key ?? '')] });
    assert.deepEqual([member(taken, 'web-1')?.wireguard, member(taken, 'db-1')?.wireguard], [key, undefined]);
  });
});

describe('relative times', () => {
  const expiry = (of: Contract): (string | undefined)[] => [member(of, 'laptop')?.expires, of.access[1]?.expires];

  it('are fixed when first applied', () => {
    assert.deepEqual(expiry(first), ['2026-12-20T10:00:00Z', '2026-11-20T11:00:00Z']);
    assert.deepEqual(
      expiry(rebuild(SHOP.replace('port: 5432', 'port: 5433'), first, { now: NOW + DAY })),
      expiry(first),
    );
  });

  it('can be shortened, and prolonged only by an instant', () => {
    const shorter = rebuild(SHOP.replace('30d', '1d'), first, { now: NOW + HOUR });
    assert.equal(member(shorter, 'laptop')?.expires, '2026-11-21T11:00:00Z');
    assert.equal(rebuild(SHOP.replace('30d', '60d'), first, { now: NOW + HOUR }), first);
    const longer = rebuild(SHOP.replace('30d', '2027-06-01'), first, { now: NOW + HOUR });
    assert.equal(member(longer, 'laptop')?.expires, '2027-06-01T00:00:00Z');
    const none = rebuild(SHOP.replace('{ expires: 30d }', '{}'), first);
    assert.equal(member(none, 'laptop')?.expires, undefined);
  });

  it('hold for equal access lines one by one', () => {
    const line = '  - { from: [laptop], to: [db], expires: 2d }\n';
    const text = SHOP.replace('publish:', `${line}publish:`);
    const one = rebuild(text, first, { now: NOW + HOUR });
    const two = rebuild(text.replace('publish:', `${line}publish:`), one, { now: NOW + 2 * HOUR });
    assert.deepEqual(
      two.access.slice(2).map(({ expires }) => expires),
      ['2026-11-22T11:00:00Z', '2026-11-22T12:00:00Z'],
    );
  });
});

describe('owners', () => {
  it('stay as they are while the file names none, and change when it does', () => {
    const text = SHOP.replace(
      'name: shop',
      `name: shop\nowners: { threshold: 2, keys: { ana: ${ana.key}, ben: ${ben.key} } }`,
    );
    const two = rebuild(text, first);
    assert.equal(two.owners.keys.length, 2);
    assert.equal(rebuild(SHOP, two), two);
    assert.equal(rebuild(SHOP.replace('name: shop', 'name: shop\nowners: { threshold: 1 }'), two).owners.threshold, 1);
  });
});

describe('gateways', () => {
  it('are asked for once, and keep their pin and salt', () => {
    const file = fileOf(SHOP.replace('  shop: {', '  shop2: { gateway: apps.example.com, service: web }\n  shop: {'));
    assert.deepEqual(gatewaysToResolve(file, null), ['apps.example.com']);
    assert.deepEqual(gatewaysToResolve(file, first), []);
  });

  it('each have a line and a salt of their own', () => {
    const other = `{ domain: other.example, peers: [/ip4/192.0.2.1/tcp/4410/p2p/${stranger.peer}] }`;
    const next = rebuild(SHOP.replace('gateway: apps.example.com', `gateway: [apps.example.com, ${other}]`), first);
    assert.equal(next.publish[0]?.salt, first.publish[0]?.salt);
    assert.notEqual(next.publish[1]?.salt, first.publish[0]?.salt);
    assert.deepEqual(publicationsOf(next)[1]?.gateways, [stranger.peer]);
  });

  it('change their pin only when a new one is given', () => {
    const pin = { domain: 'apps.example.com', peers: [`/ip4/192.0.2.1/tcp/4410/p2p/${stranger.peer}`] };
    const next = rebuild(SHOP, first, { gateways: new Map([[pin.domain, pin]]) });
    assert.deepEqual(next.publish[0]?.gateway, pin);
    assert.equal(next.publish[0]?.salt, first.publish[0]?.salt);
  });
});

describe('what cannot be built on', () => {
  it('is an ended deployment and another deployment', () => {
    assert.throws(() => rebuild(SHOP, { ...first, state: 'ended' }), coded('DEPLOYMENT_ENDED'));
    assert.throws(() => rebuild(SHOP, { ...first, deployment: 'a'.repeat(26) }), coded('GENESIS_MISMATCH'));
  });

  it('is a file whose contract would be larger than 1 MiB', () => {
    const names = Array.from({ length: 256 }, (_, i) => `member-with-a-name-that-is-long-on-purpose-${i}`);
    const members = names.map((name) => `  ${name}: {}`).join('\n');
    const from = names.join(', ');
    const lines = Array.from({ length: 110 }, () => `  - { from: *all, to: [web] }`).join('\n');
    const text = `version: 1\nname: a\nmembers:\n  web-1: { keeper: true }\n${members}\nservices: { web: { on: [web-1], port: 80 } }\naccess:\n  - { from: &all [${from}], to: [web] }\n${lines}\n`;
    assert.throws(() => build(text), coded('CONTRACT_INVALID'));
  });
});

describe('a file written from a contract', () => {
  it('builds that contract again', () => {
    for (const version of [first, contract]) {
      assert.equal(rebuild(fileFromContract(version), version), version);
    }
  });

  it('does so for any members, tags, services and times', () => {
    const label = fc.stringMatching(/^[a-z0-9]{1,3}$/);
    const names = fc.uniqueArray(label, { minLength: 1, maxLength: 6 });
    const files = fc.record({
      names,
      tags: fc.array(fc.uniqueArray(label, { maxLength: 2 }), { minLength: 6, maxLength: 6 }),
      services: fc.uniqueArray(label, { maxLength: 4 }),
      expires: fc.array(fc.constantFrom(undefined, '30d', '1h', '2027-01-01'), { minLength: 6, maxLength: 6 }),
    });
    fc.assert(
      fc.property(files, (given) => {
        const members = given.names.map((name, i) => {
          const expires = i > 0 && given.expires[i] !== undefined ? `, expires: ${given.expires[i]}` : '';
          const keeper = i === 0 ? `, keeper: true, node: ${web1.peer}` : '';
          return `  "${name}": { tags: [${(given.tags[i] ?? []).map((tag) => `"${tag}"`).join(', ')}]${keeper}${expires} }\n`;
        });
        const services = given.services.map(
          (name, i) => `  "${name}": { on: ["${given.names[0]}"], port: ${i + 1} }\n`,
        );
        const text = `version: 1\nname: a\nmembers:\n${members.join('')}services:\n${services.join('')}`;
        const built = build(text, { pins: new Map() });
        assert.equal(rebuild(text, built, { now: NOW + DAY }), built);
        assert.equal(rebuild(fileFromContract(built), built, { now: NOW + DAY }), built);
      }),
      { numRuns: 200 },
    );
  });
});
