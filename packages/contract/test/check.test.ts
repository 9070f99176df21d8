import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toBase64url } from '@moat/core';
import {
  CONTRACT_LIMITS,
  canonicalize,
  checkContract,
  publicationsOf,
  type Contract,
  type Member,
} from '@moat/contract';
import { ana, ben, contract, identity, laptopInvite, stranger, without } from './deployment.fixture.ts';

function refused(changes: Partial<Contract>, path: string): void {
  assert.throws(
    () => checkContract({ ...contract, ...changes }),
    (error: { code: string; details: { path: string } }) => {
      assert.equal(error.code, path.endsWith('ipv4') ? 'ADDRESS_INVALID' : 'CONTRACT_INVALID');
      assert.equal(error.details.path, path);
      return true;
    },
    path,
  );
}

function withMember(i: number, changes: Partial<Member>): Pick<Contract, 'members'> {
  return { members: contract.members.map((member, k) => (k === i ? { ...member, ...changes } : member)) };
}

test('the fixture keeps every rule', () => {
  checkContract(contract);
});

test('owners are distinct and can reach their threshold', () => {
  const [a, b] = [
    { name: 'ana', key: ana.key, weight: 1 },
    { name: 'ben', key: ben.key, weight: 1 },
  ];
  refused({ owners: { threshold: 1, keys: [a, { ...b, name: 'ana' }] } }, 'owners.keys[1].name');
  refused({ owners: { threshold: 1, keys: [a, { ...b, key: ana.key }] } }, 'owners.keys[1].key');
  refused({ owners: { threshold: 3, keys: [a, b] } }, 'owners.threshold');
});

test('members are distinct, and one pinned keeper is among them', () => {
  refused(withMember(1, { name: 'web-1' }), 'members[1].name');
  const [first] = contract.members;
  refused(withMember(1, { node: first?.node ?? '' }), 'members[1].node');
  const wireguard = Buffer.alloc(32).toString('base64');
  refused({ members: contract.members.map((m) => (m.invite ? m : { ...m, wireguard })) }, 'members[1].wireguard');
  const invite = { key: laptopInvite.key, expires: '2026-11-20T11:00:00Z' };
  refused(withMember(3, { invite }), 'members[3].invite.key');
  refused(withMember(2, { node: stranger.peer }), 'members[2].invite');
  refused(withMember(2, { wireguard }), 'members[2].invite');
  refused({ members: without(contract.members, 'keeper') }, 'members');
  // A keeper that no machine is pinned to does not count.
  refused({ members: without(contract.members, 'node') }, 'members');
});

test('addresses are checked', () => {
  refused(withMember(1, { ipv4: '10.77.0.2' }), 'members[1].ipv4');
  refused(withMember(1, { ipv4: '10.77.0.1' }), 'members[1].ipv4');
  refused(withMember(1, { ipv4: '10.78.0.3' }), 'members[1].ipv4');
  refused({ network: { ipv4: '10.77.0.0/33', plane: 'auto' } }, 'network.ipv4');
});

test('references lead somewhere', () => {
  const [web, db] = contract.services;
  assert.ok(web && db);
  refused({ services: [web, { ...db, on: ['db-2'] }] }, 'services[1].on[0]');
  refused({ services: [web, { ...db, name: 'web' }] }, 'services[1].name');
  refused({ services: [web, { ...db, health: '/up' }] }, 'services[1].health');
  refused({ access: [{ from: ['tag:web', 'nobody'], to: ['db'] }] }, 'access[0].from[1]');
  refused({ access: [{ from: ['web-1'], to: ['db', 'cache'] }] }, 'access[0].to[1]');
  const [line] = contract.publish;
  assert.ok(line);
  refused({ publish: [{ ...line, service: 'cache' }] }, 'publish[0].service');
  // A tag selects whoever carries it, perhaps nobody yet.
  checkContract({ ...contract, access: [{ from: ['tag:future'], to: ['db'] }] });
});

test('a name is published once at a gateway, each with a salt of its own', () => {
  const [line] = contract.publish;
  assert.ok(line);
  const salt = 'A'.repeat(22);
  refused({ publish: [line, { ...line, salt }] }, 'publish[1].name');
  refused({ publish: [line, { ...line, name: 'other' }] }, 'publish[1].salt');
  const elsewhere = { ...line, salt, gateway: { ...line.gateway, domain: 'other.example.com' } };
  checkContract({ ...contract, publish: [line, elsewhere] });
});

test('publications list no more places than a gateway reads', () => {
  const [line] = contract.publish;
  const [keeper] = contract.members;
  assert.ok(line && keeper);
  const members = Array.from({ length: 1024 }, (_, i): Member => {
    return { name: `web-${i}`, ipv4: `10.77.${4 + (i >> 8)}.${i & 255}`, tags: ['web'] };
  });
  const publish = Array.from({ length: 8 }, (_, i) => {
    return { ...line, name: `shop-${i}`, salt: toBase64url(new Uint8Array(16).fill(i)) };
  });
  const of = { ...contract, access: [], services: contract.services.filter(({ name }) => name === 'web') };
  // Seven lines of 1024 members, the keeper who serves and the same keeper as witness.
  const all = [{ ...keeper, name: 'keeper' }, ...members];
  checkContract({ ...of, members: all, publish: publish.slice(0, 7) });
  refused({ ...of, members: all, publish }, 'publish[7]');
});

test('publications are never larger than a gateway reads, with ends, invites and secrets', () => {
  const [line] = contract.publish;
  const [keeper] = contract.members;
  assert.ok(line && keeper);
  const members = Array.from({ length: 1020 }, (_, i): Member => {
    const invite = { key: identity(`invite ${i}`).key, expires: '2026-11-20T11:00:00.000Z' };
    const ipv4 = `10.77.${4 + (i >> 8)}.${i & 255}`;
    return { name: `web-${i}`, ipv4, tags: ['web'], invite, expires: '2026-12-20T00:00:00.000Z' };
  });
  const box = `x25519:${toBase64url(new Uint8Array(32).fill(9))}`;
  const basic = { box: 'A'.repeat(21_000), digest: toBase64url(new Uint8Array(32)) };
  const publish = Array.from({ length: 8 }, (_, i) => ({
    ...line,
    name: `shop-${i}`,
    salt: toBase64url(new Uint8Array(16).fill(i)),
    gateway: { ...line.gateway, box },
    auth: { basic },
  }));
  const services = contract.services.filter(({ name }) => name === 'web');
  const of = { ...contract, access: [], services, members: [{ ...keeper, name: 'keeper' }, ...members] };
  const most = { ...of, publish: publish.slice(0, 4) };
  checkContract(most);
  const shown = canonicalize(publicationsOf(most)).length;
  assert.ok(shown > 600_000 && shown <= CONTRACT_LIMITS.publishedChars, `${shown} characters`);
  refused({ ...of, publish }, 'publish[4]');
});

test('a name asks for a password only where its gateway can', () => {
  const [line] = contract.publish;
  assert.ok(line);
  const box = `x25519:${toBase64url(new Uint8Array(32).fill(9))}`;
  const auth = { basic: { box: 'A'.repeat(100), digest: toBase64url(new Uint8Array(32)) } };
  const asking = { ...line, auth, gateway: { ...line.gateway, box } };
  checkContract({ ...contract, publish: [asking] });
  refused({ publish: [{ ...line, auth }] }, 'publish[0].auth');
  refused({ publish: [{ ...asking, tls: 'passthrough' }] }, 'publish[0].auth');
  refused({ publish: [{ ...asking, service: 'db' }] }, 'publish[0].auth');
});
