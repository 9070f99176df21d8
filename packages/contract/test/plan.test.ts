import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planChanges, planWarnings, resolvePlaces, type Contract } from '@moat/contract';
import { NOW, ben, contract, laptopClaim, owners, ownedBy, stranger } from './deployment.fixture.ts';

const SIGNS = { add: '+', remove: '-', change: '~' } as const;

function lines(from: Contract | null, to: Contract): string[] {
  return planChanges(from, to).map(({ kind, path, text }) =>
    `${SIGNS[kind]} ${path} | ${text}`.replaceAll(/(12D3Koo|ed25519:)[\w-]+/g, '$1…'),
  );
}

function edited(name: string, changes: object): Contract['members'] {
  return contract.members.map((member) => (member.name === name ? { ...member, ...changes } : member));
}

describe('a plan', () => {
  it('is empty between equal versions', () => {
    assert.deepEqual(planChanges(contract, { ...contract, version: 1 }), []);
  });

  it('lists everything of a first version', () => {
    assert.deepEqual(lines(null, contract), [
      '+ name | name shop',
      '+ state | state active',
      '+ owners.threshold | owners.threshold 2',
      '+ network.ipv4 | network.ipv4 10.77.0.0/16',
      '+ network.plane | network.plane auto',
      '+ owners.ana | owner ana ed25519:…',
      '+ owners.ben | owner ben ed25519:…',
      '+ owners.cleo | owner cleo ed25519:…',
      '+ anchors[0] | anchor /dns4/gw.example.com/tcp/4410/p2p/12D3Koo…',
      '+ members.web-1 | member web-1 10.77.0.2, tags web, keeper, machine 12D3Koo…',
      '+ members.db-1 | member db-1 10.77.0.3, machine 12D3Koo…',
      '+ members.laptop | member laptop 10.77.0.4, tags web, open until 2026-11-20T11:00:00Z, until 2026-12-20T00:00:00Z',
      '+ members.spare | member spare 10.77.0.5, vacant',
      '+ services.web | service web:80 (http) on tag:web, at 127.0.0.1:3000 there',
      '+ services.db | service db:5432 (tcp) on db-1, at 127.0.0.1:5432 there',
      '+ access[0] | tag:web may reach db, until 2026-11-21T00:00:00Z',
      '+ access[1] | laptop may reach web',
      '+ publish.shop@apps.example.com | public shop.apps.example.com leads to web',
    ]);
  });

  it('says what changes, field by field', () => {
    const [line] = contract.publish;
    assert.ok(line);
    const to: Contract = {
      ...contract,
      owners: {
        ...owners,
        threshold: 1,
        keys: owners.keys.map((key) => (key.name === 'ben' ? { ...key, weight: 2 } : key)),
      },
      anchors: [],
      network: { ...contract.network, maxStale: 7_200_000 },
      members: edited('db-1', { node: stranger.peer, tags: ['db', 'slow'], keeper: true }).slice(0, 3),
      services: contract.services.map((service) => ({ ...service, target: '127.0.0.1:1' })),
      access: [
        { from: ['laptop'], to: ['web'], expires: '2027-01-01T00:00:00Z' },
        { from: ['laptop'], to: ['db'] },
      ],
      publish: [
        { ...line, service: 'db', tls: 'passthrough' },
        { ...line, name: 'www.shop.example' },
      ],
    };
    assert.deepEqual(lines(contract, to), [
      '~ owners.threshold | owners.threshold 2 → 1',
      '+ network.maxStale | network.maxStale 2h',
      '~ owners.ben | owner ben: weight 1 → 2',
      '- anchors[0] | anchor /dns4/gw.example.com/tcp/4410/p2p/12D3Koo…',
      '~ members.db-1 | member db-1: machine 12D3Koo… → 12D3Koo…, tags none → db slow, keeper no → yes',
      '- members.spare | member spare 10.77.0.5, vacant',
      '~ services.web | service web: target 127.0.0.1:3000 → 127.0.0.1:1',
      '~ services.db | service db: target 127.0.0.1:5432 → 127.0.0.1:1',
      '~ access[0] | laptop may reach web: no end → until 2027-01-01T00:00:00Z',
      '+ access[1] | laptop may reach db',
      '- access[0] | tag:web may reach db, until 2026-11-21T00:00:00Z',
      '~ publish.shop@apps.example.com | public shop@apps.example.com: service web → db, tls terminate → passthrough',
      '+ publish.www.shop.example@apps.example.com | public www.shop.example at apps.example.com leads to web',
    ]);
  });

  it('shows an order that changed', () => {
    const services = [
      { ...contract.services[0], on: ['tag:web', 'db-1'] },
      ...contract.services.slice(1),
    ] as Contract['services'];
    const swapped = [
      { ...contract.services[0], on: ['db-1', 'tag:web'] },
      ...contract.services.slice(1),
    ] as Contract['services'];
    assert.equal(planChanges({ ...contract, services }, { ...contract, services: swapped }).length, 1);
    assert.deepEqual(lines(contract, { ...contract, members: contract.members.toReversed() }), [
      '~ members | members in another order',
    ]);
  });
});

describe('warnings of a plan', () => {
  const codes = (from: Contract | null, to: Contract, extra: object = {}): string[] =>
    planWarnings({ from, to, now: NOW, ...extra }).map(({ code, path }) => `${code} ${path}`);

  it('name a single keeper, and maxStale with it', () => {
    assert.deepEqual(codes(null, contract), ['SINGLE_KEEPER members']);
    const stale = { ...contract, network: { ...contract.network, maxStale: 7_200_000 } };
    assert.deepEqual(codes(null, stale), ['SINGLE_KEEPER members', 'STALE_SINGLE_KEEPER network.maxStale']);
    assert.deepEqual(codes(null, { ...stale, members: edited('db-1', { keeper: true }) }), []);
  });

  it('name who must sign when the owners change, and nothing else when all ends', () => {
    const owners = {
      threshold: 2,
      keys: contract.owners.keys.map((owner) => (owner.name === 'ana' ? { ...owner, weight: 2 } : owner)),
    };
    const text = (to: Contract, extra: object = {}): string[] =>
      planWarnings({ from: contract, to, now: NOW, ...extra }).map((warning) => warning.text);
    assert.equal(
      text({ ...contract, version: 1, owners })[1],
      'the owners change: 2 of ana, ben and cleo (version 0) and 2 of ana (weight 2), ben and cleo (version 1) must sign',
    );
    assert.deepEqual(codes(contract, { ...contract, version: 1, state: 'ended' }), ['DEPLOYMENT_ENDS state']);
    const other = { ...contract, version: 4, owners };
    const [fork] = text({ ...contract, version: 5 }, { ends: other });
    assert.match(
      fork ?? '',
      /^version 5 ends the fork: .* 2 of ana, ben and cleo \(version 0\), and 2 of ana \(weight 2\)/,
    );
  });

  it('name machines without a WireGuard key where all is to go by it, and the record a new host needs', () => {
    const [line] = contract.publish;
    assert.ok(line);
    const publish = [line, { ...line, name: 'www.shop.example' }];
    const to = {
      ...contract,
      publish,
      network: { ...contract.network, plane: 'wireguard' as const },
      members: edited('db-1', { keeper: true }),
    };
    const plane = ['NO_WIREGUARD_KEY network.plane'];
    assert.deepEqual(codes(null, to), ['PROOF_NEEDED publish.www.shop.example', ...plane]);
    assert.deepEqual(codes(to, { ...to, version: to.version + 1 }), plane, 'said once');
  });

  it('name new owners, what is over, and services out of reach', () => {
    const two = edited('db-1', { keeper: true });
    assert.deepEqual(codes(contract, { ...contract, members: two, owners: ownedBy(1, { ben }) }), [
      'OWNERS_CHANGE owners',
    ]);
    const later = { ...contract, members: two };
    assert.deepEqual(codes(contract, later, { now: Date.parse('2026-12-21T00:00:00Z') }), [
      'MEMBERSHIP_OVER members.laptop',
      'GRANT_OVER access[0]',
    ]);
    assert.deepEqual(codes(contract, { ...later, access: [] }), ['SERVICE_UNREACHABLE services.db']);
  });

  it('name a frozen place until the version decides', () => {
    const claims = [laptopClaim(), laptopClaim(stranger)];
    const places = resolvePlaces(contract, claims, NOW);
    const two = { ...contract, members: edited('db-1', { keeper: true }) };
    assert.deepEqual(codes(contract, two, { places }), ['PLACE_FROZEN members.laptop']);
    const decided = two.members.map((member) =>
      member.name === 'laptop' ? { ...member, invite: { key: ben.key, expires: '2026-11-21T00:00:00Z' } } : member,
    );
    assert.deepEqual(codes(contract, { ...two, members: decided }, { places }), []);
  });
});
