import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Contract, ContractView } from '@moat/contract';
import { meetingDenial, peersBesidesGrants } from '../../src/plane/paths/meeting.ts';
import { PEERS, contract, viewOf } from '../shop.ts';

const KEYS = ['A', 'B', 'C', 'D', 'E'].map((letter) => `${letter.repeat(42)}A=`);
const NOW = Date.UTC(2026, 10, 21);

/** The shop with WireGuard keys, and a phone behind db-2. */
function shop(changes: Partial<Contract> = {}): ContractView {
  const members = contract().members.map((member, i) => ({ ...member, wireguard: KEYS[i] ?? '' }));
  const phone = { name: 'phone', ipv4: '10.77.0.9', tags: ['device'], via: 'db-2', wireguard: KEYS[4] ?? '' };
  return viewOf({ network: { ipv4: '10.77.0.0/16', plane: 'auto' }, members: [...members, phone], ...changes }, NOW);
}

test('members meet for a grant in either direction', () => {
  const view = shop();
  assert.equal(meetingDenial(view, 'web-1', 'db-1', NOW), undefined);
  assert.equal(meetingDenial(view, 'db-1', 'web-1', NOW), undefined);
  assert.equal(meetingDenial(view, 'web-1', 'web-2', NOW), 'GRANT_DENIED');
  assert.equal(meetingDenial(view, 'web-1', 'web-1', NOW), 'MEMBER_UNKNOWN');
  assert.equal(meetingDenial(view, 'web-1', 'phone', NOW), 'MEMBER_UNKNOWN');
  assert.deepEqual([...peersBesidesGrants(view, 'web-1', NOW)], []);
});

test('members meet for a device behind one of them', () => {
  const view = shop({ access: [{ from: ['phone'], to: ['web'] }] });
  assert.equal(meetingDenial(view, 'web-1', 'db-2', NOW), undefined);
  assert.equal(meetingDenial(view, 'db-2', 'web-2', NOW), undefined);
  assert.equal(meetingDenial(view, 'web-1', 'db-1', NOW), 'GRANT_DENIED');
  assert.deepEqual([...peersBesidesGrants(view, 'db-2', NOW)], [PEERS.web1, PEERS.web2]);
  assert.deepEqual([...peersBesidesGrants(view, 'web-1', NOW)], [PEERS.db2]);
  assert.deepEqual([...peersBesidesGrants(view, 'db-1', NOW)], []);
});

test('members meet for a way out, until it ends', () => {
  const line = { from: ['tag:db'], via: 'web-1', expires: '2026-12-01T00:00:00Z' };
  const view = shop({ access: [], egress: [line] });
  assert.equal(meetingDenial(view, 'db-1', 'web-1', NOW), undefined);
  assert.equal(meetingDenial(view, 'web-1', 'db-1', NOW), undefined);
  assert.equal(meetingDenial(view, 'db-1', 'web-2', NOW), 'GRANT_DENIED');
  assert.deepEqual([...peersBesidesGrants(view, 'web-1', NOW)], [PEERS.db1, PEERS.db2]);
  assert.deepEqual([...peersBesidesGrants(view, 'db-1', NOW)], [PEERS.web1]);
  const later = Date.UTC(2026, 11, 2);
  assert.equal(meetingDenial(view, 'db-1', 'web-1', later), 'GRANT_DENIED');
  assert.deepEqual([...peersBesidesGrants(view, 'web-1', later)], []);
});
