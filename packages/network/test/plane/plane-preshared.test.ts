import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import type { ContractView } from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import { createMemoryTunnels, createWireguardKey } from '@moat/wireguard';
import { ExposedTable } from '../../src/index.ts';
import { createPlane } from '../../src/plane/plane.ts';

test('where a key is required no peer has a way before it has a key', async () => {
  const [own, next, peer] = [createWireguardKey(), createWireguardKey(), createWireguardKey()];
  const said: string[] = [];
  const say = (line: string): Promise<void> => {
    said.push(line);
    return Promise.resolve();
  };
  const keys = new Map([own, next].map((key) => [key.publicKey, key.privateKey]));
  const plane = createPlane(
    {
      tunnels: createMemoryTunnels(),
      layoutOf: () => ({
        name: 'moattest',
        addresses: ['10.77.0.2/32'],
        routes: [],
        peers: [{ member: 'db', peer: 'peer-db', publicKey: peer.publicKey, allowedIps: ['10.77.0.3/32'] }],
        services: [],
        unserved: [],
        rules: { chains: '' },
        forwarding: 'none',
        leavesBy: null,
      }),
      paths: () => ({
        start: () => say('paths start'),
        update: () => say('paths update'),
        states: () => [],
        untilDirect: () => Promise.reject(new Error('never')),
        netcheck: () => Promise.reject(new Error('never')),
        stop: () => say('paths stop'),
        giveBack: () => say('paths give back'),
      }),
      presharedKeys: ({ publicKey }) => ({
        start: () => say(`keys for ${publicKey === own.publicKey ? 'own' : 'next'}`),
        update: (peers, mode) => say(`keys of ${peers.length}: ${mode}`),
        states: () => [{ peer: 'peer-db', state: 'pq', agreedAt: 1 }],
        mayMeet: () => true,
        stop: () => say('keys stop'),
      }),
      privateKey: (publicKey) => Promise.resolve(keys.get(publicKey) ?? ''),
      clock: createManualClock(),
      logger: silentLogger,
    },
    { self: 'self', exposed: new ExposedTable({ ownSockets: () => [] }), namespace: null, port: 51_820 },
  );
  const viewOf = (wireguard: string, postQuantum?: string): ContractView =>
    ({
      contract: { network: { postQuantum }, access: [], state: 'active' },
      places: new Map([['self', { wireguard }]]),
    }) as unknown as ContractView;

  await plane.update(viewOf(own.publicKey, 'require'));
  assert.deepEqual(said.splice(0), ['paths start', 'keys for own', 'keys of 1: require', 'paths update']);
  assert.equal((await plane.peers())[0]?.presharedKey?.state, 'pq');
  await plane.update(viewOf(own.publicKey));
  assert.deepEqual(said.splice(0), ['paths update', 'keys of 1: null', 'paths update']);
  await plane.update(viewOf(next.publicKey, 'prefer'));
  assert.deepEqual(said.splice(0), ['paths update', 'keys stop', 'keys for next', 'keys of 1: prefer', 'paths update']);
  await plane.stop();
  assert.deepEqual(said, ['keys stop', 'paths stop']);
});
