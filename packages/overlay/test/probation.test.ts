import assert from 'node:assert/strict';
import { test } from 'node:test';
import { multiaddr } from '@multiformats/multiaddr';
import { silentLogger } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { Probation } from '../src/probation.ts';

const OPTIONS = { probationMs: 5000, maxStrangers: 10 };

/** A probation, and what makes it a connection to a peer; those in `closed` have told so. */
function begin(): { probation: Probation; connect: (peer: string, id: string) => string; closed: string[] } {
  const closed: string[] = [];
  const probation = new Probation(
    { logger: silentLogger, clock: createManualClock(), onClosed: ({ id }) => closed.push(id) },
    OPTIONS,
  );
  const connect = (peer: string, id: string): string => {
    const raw = Object.assign(new EventTarget(), {
      id,
      remotePeer: { toString: () => peer },
      remoteAddr: multiaddr('/ip4/192.0.2.7/tcp/4001'),
      direction: 'inbound',
      status: 'open',
      streams: [],
      abort: () => undefined,
    });
    return probation.of(raw as never).id;
  };
  return { probation, connect, closed };
}

test('connections are found by their peer, the oldest first, and no more once they are closed', () => {
  const { probation, connect, closed } = begin();
  for (const [peer, id] of [
    ['alice', 'a1'],
    ['bob', 'b1'],
    ['alice', 'a2'],
    ['carol', 'c1'],
    ['bob', 'b2'],
  ] as const)
    connect(peer, id);
  const idsOf = (...peers: string[]): string[] => probation.ofPeers(peers).map(({ id }) => id);
  const alice = probation.ofPeer('alice');
  assert.deepEqual(
    alice.map(({ id }) => id),
    ['a1', 'a2'],
  );
  assert.deepEqual(idsOf('bob', 'alice'), ['a1', 'b1', 'a2', 'b2'], 'in the order they came in, as `all` has them');
  assert.deepEqual(probation.ofPeer('dave'), []);

  for (const connection of alice) probation.close(connection, 'over');
  assert.deepEqual(closed, ['a1', 'a2'], 'a list may be walked while what is in it closes');
  assert.deepEqual(probation.ofPeer('alice'), []);
  assert.deepEqual(idsOf('alice', 'bob'), ['b1', 'b2']);
});

test('connections of one peer share what it may ask, and of nine the oldest is closed', () => {
  const { probation, connect, closed } = begin();
  connect('bob', 'b');
  for (let i = 1; i <= 9; i++) connect('alice', `a${i}`);
  assert.deepEqual(closed, ['a1']);
  assert.equal(new Set(probation.ofPeer('alice').map(({ requests }) => requests)).size, 1);
  assert.notEqual(probation.ofPeer('alice')[0]?.requests, probation.ofPeer('bob')[0]?.requests);
});
