import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  canonicalize,
  createGatewayPeers,
  followGatewayPeers,
  parseGatewayPeerLists,
  parseSignedGatewayPeers,
  signGatewayPeers,
  type SignedGatewayPeers,
} from '@moat/contract';
import { identity, type Identity } from './deployment.fixture.ts';

const domain = 'apps.example.com';
const [a, b, c, d, thief] = ['gw a', 'gw b', 'gw c', 'gw d', 'thief'].map(identity) as [
  Identity,
  Identity,
  Identity,
  Identity,
  Identity,
];

function listOf(
  number: number,
  before: readonly Identity[],
  peers: readonly Identity[],
  by: readonly Identity[] = before,
): SignedGatewayPeers {
  const list = createGatewayPeers({
    domain,
    number,
    peers: peers.map(({ peer }) => peer),
    before: before.map(({ peer }) => peer),
  });
  return by.reduce((signed, { signer }) => signGatewayPeers(signed, signer), list);
}

const peersOf = (...machines: readonly Identity[]): string[] => machines.map(({ peer }) => peer).sort();
const first = listOf(1, [a, b], [b, c]);
const second = listOf(2, [b, c], [d]);

test('a gateway leads those who pinned it from list to list', () => {
  const parsed = parseGatewayPeerLists(canonicalize([second, first]));
  assert.deepEqual(parsed, [second, first]);
  assert.deepEqual(parseSignedGatewayPeers(canonicalize(first)), first);
  assert.deepEqual(followGatewayPeers(domain, [b.peer, a.peer], parsed), peersOf(d));
  assert.deepEqual(followGatewayPeers(domain, peersOf(b, c), parsed), peersOf(d));
  assert.deepEqual(followGatewayPeers(domain, peersOf(d), parsed), peersOf(d));
  assert.deepEqual(followGatewayPeers(domain, peersOf(a, b), []), peersOf(a, b));
});

test('lists that begin elsewhere lead nowhere', () => {
  assert.deepEqual(followGatewayPeers(domain, [a.peer], [first, second]), [a.peer]);
  assert.deepEqual(followGatewayPeers('other.example.com', peersOf(a, b), [first]), peersOf(a, b));
  // A gap in the numbers is a list withheld: what follows it is not taken for the next.
  assert.deepEqual(followGatewayPeers(domain, peersOf(a, b), [first, listOf(3, [b, c], [d])]), peersOf(b, c));
});

test('every machine of a list signs the next one: a stolen key of one is not enough', () => {
  for (const by of [[a], [b], [thief], [a, thief], []]) {
    const forged = listOf(1, [a, b], [thief], by);
    assert.throws(() => followGatewayPeers(domain, peersOf(a, b), [forged]), { code: 'GATEWAY_PEERS_FORGED' });
  }
  const [signature] = first.signatures;
  assert.ok(signature);
  const twice = { ...first, signatures: [signature, signature] };
  assert.throws(() => followGatewayPeers(domain, peersOf(a, b), [twice]), { code: 'GATEWAY_PEERS_FORGED' });
  const altered = { ...first, list: { ...first.list, peers: peersOf(thief) } };
  assert.throws(() => followGatewayPeers(domain, peersOf(a, b), [altered]), { code: 'GATEWAY_PEERS_FORGED' });
  assert.throws(
    () =>
      followGatewayPeers(domain, peersOf(a, b), [
        listOf(1, [a, b], [b, c], [a, b, thief]),
        listOf(2, [b, c], [thief], [c]),
      ]),
    {
      code: 'GATEWAY_PEERS_FORGED',
    },
  );
});

test('two signed lists of one number are a reason to stop; an unsigned rival is not', () => {
  const rival = listOf(1, [a, b], [thief]);
  for (const lists of [
    [first, rival],
    [rival, first],
  ]) {
    assert.throws(() => followGatewayPeers(domain, peersOf(a, b), lists), { code: 'GATEWAY_PEERS_FORGED' });
  }
  const noise = listOf(1, [thief], [thief], []);
  assert.deepEqual(followGatewayPeers(domain, peersOf(a, b), [noise, first]), peersOf(b, c));
});

test('a list comes back to where it began and ends', () => {
  const there = listOf(1, [a], [b]);
  const back = listOf(2, [b], [a]);
  const away = listOf(3, [a], [c]);
  assert.deepEqual(followGatewayPeers(domain, [a.peer], [there, back]), [a.peer]);
  assert.deepEqual(followGatewayPeers(domain, [a.peer], [away, back, there]), [c.peer]);
});

test('lists have bounds and one order', () => {
  const unsorted = { ...first, list: { ...first.list, peers: first.list.peers.toReversed() } };
  assert.throws(() => parseSignedGatewayPeers(unsorted), { code: 'CONTRACT_INVALID' });
  assert.throws(() => parseSignedGatewayPeers({ ...first, list: { ...first.list, peers: [] } }), {
    code: 'CONTRACT_INVALID',
  });
  assert.throws(() => parseSignedGatewayPeers({ ...first, list: { ...first.list, number: 0 } }), {
    code: 'CONTRACT_INVALID',
  });
  assert.throws(() => parseGatewayPeerLists(Array.from({ length: 65 }, () => first)), { code: 'CONTRACT_INVALID' });
  assert.deepEqual(signGatewayPeers(first, a.signer).signatures.length, 2);
});
