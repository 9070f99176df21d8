/** Versions that come from another one: rolled back, ended, with a key replaced. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toBase64url } from '@moat/core';
import {
  checkContract,
  endedContract,
  publicationsOf,
  replaceOwner,
  rollbackContract,
  type Contract,
  type PublishAuth,
} from '@moat/contract';
import { cleo, contract, laptop, stranger, web1, ana } from './deployment.fixture.ts';

const v0 = contract;
const v4: Contract = {
  ...contract,
  version: 4,
  name: 'shop',
  members: [
    ...contract.members.map((member) => (member.name === 'spare' ? { ...member, node: stranger.peer } : member)),
    { name: 'new', node: laptop.peer, ipv4: '10.77.0.9', tags: [] },
  ],
  services: [{ name: 'cache', on: ['new'], port: 6379, target: '127.0.0.1:6379', protocol: 'tcp' }],
  access: [{ from: ['new'], to: ['cache'] }],
  publish: [],
};

test('a rollback brings back services, access and publications, and nothing else', () => {
  const back = rollbackContract(v4, v0);
  checkContract(back);
  assert.equal(back.version, 5);
  assert.deepEqual([back.services, back.access, back.publish], [v0.services, v0.access, v0.publish]);
  assert.deepEqual([back.members, back.owners, back.network], [v4.members, v4.owners, v4.network]);
  assert.equal(publicationsOf(back).length, 1);
  // Going back to where it already is changes nothing.
  assert.equal(rollbackContract(back, v0), back);
});

test('a rollback never brings back a member: what named one is left out', () => {
  const gone: Contract = { ...v4, members: v4.members.filter(({ name }) => name !== 'db-1' && name !== 'laptop') };
  const back = rollbackContract(gone, v0);
  checkContract(back);
  assert.deepEqual(
    back.services.map(({ name }) => name),
    ['web'],
  );
  assert.deepEqual(back.access, []);
  assert.deepEqual(
    back.members.map(({ name }) => name),
    ['web-1', 'spare', 'new'],
  );
});

test("a rollback keeps a gateway's newest pin and box", () => {
  const [line] = v0.publish;
  assert.ok(line);
  const pin = {
    domain: 'apps.example.com',
    peers: [`/dns4/other.example.com/tcp/1/p2p/${web1.peer}`],
    box: `x25519:${toBase64url(new Uint8Array(32))}`,
  };
  const auth = (box: string, digest: string): PublishAuth => ({ basic: { box, digest } });
  const now: Contract = {
    ...v4,
    services: v0.services,
    publish: [{ ...line, gateway: pin, auth: auth('new', 'same') }],
  };
  const old: Contract = { ...v0, publish: [{ ...line, auth: auth('old', 'same') }] };
  assert.deepEqual(rollbackContract(now, old).publish, [{ ...line, gateway: pin, auth: auth('new', 'same') }]);
  const changed: Contract = { ...v0, publish: [{ ...line, auth: auth('old', 'then') }] };
  assert.deepEqual(rollbackContract(now, changed).publish[0]?.auth, auth('old', 'then'));
});

test('an ended deployment publishes nothing and is followed by nothing', () => {
  const end = endedContract(v4);
  assert.deepEqual([end.version, end.state, publicationsOf(end)], [5, 'ended', []]);
  for (const next of [
    () => endedContract(end),
    () => rollbackContract(end, v0),
    () => replaceOwner(end, ana.key, { key: stranger.key }),
  ]) {
    assert.throws(next, { code: 'DEPLOYMENT_ENDED' });
  }
  assert.throws(() => rollbackContract(v4, { ...v0, deployment: 'a'.repeat(26) }), { code: 'GENESIS_MISMATCH' });
});

test("an owner's key is replaced in place", () => {
  const rotated = replaceOwner(v4, cleo.key, { key: stranger.key });
  checkContract(rotated);
  assert.equal(rotated.version, 5);
  assert.deepEqual(rotated.owners.keys[2], { name: 'cleo', key: stranger.key, weight: 1 });
  assert.equal(replaceOwner(v4, cleo.key, { name: 'dora', key: stranger.key }).owners.keys[2]?.name, 'dora');
  assert.throws(() => replaceOwner(v4, stranger.key, { key: cleo.key }), { code: 'OWNER_UNKNOWN' });
  assert.throws(() => replaceOwner(v4, cleo.key, { key: ana.key }), { code: 'CONTRACT_INVALID' });
  assert.throws(() => replaceOwner(v4, cleo.key, { name: 'ana', key: stranger.key }), { code: 'CONTRACT_INVALID' });
});
