/** What tests of other packages rely on in the twin in memory. */
import type { Endpoint, TunnelSpec } from '@moat/core';
import { isMoatError } from '@moat/core';
import { createMemoryAir, createMemoryTunnels, createWireguardKey, type AirPacket } from '@moat/wireguard';
import assert from 'node:assert/strict';
import { test } from 'node:test';

const [ALICE, BOB] = ['192.0.2.1', '192.0.2.2'];
const [alice, bob] = [createWireguardKey(), createWireguardKey()];
const specOf = (privateKey: string, peer: string, last: number): TunnelSpec => ({
  name: 'moat0',
  namespace: null,
  privateKey,
  port: 51_820,
  mtu: 1420,
  addresses: [`10.77.0.${last}/32`],
  routes: ['10.77.0.0/16'],
  peers: [{ publicKey: peer, allowedIps: [`10.77.0.${5 - last}/32`] }],
  rules: { chains: '' },
});

/** Two machines; `route` is what stands between them. */
async function pair(route?: (source: Endpoint, target: Endpoint) => Endpoint | null) {
  const air = createMemoryAir(route ? { route } : {});
  const clock = { now: () => 1_000_500 };
  const [a, b] = [createMemoryTunnels({ air, host: ALICE, clock }), createMemoryTunnels({ air, host: BOB, clock })];
  await a.apply(specOf(alice.privateKey, bob.publicKey, 2));
  await b.apply(specOf(bob.privateKey, alice.publicKey, 3));
  return { air, a, b };
}

test('two twins shake hands where an endpoint leads, and the other side learns it', async () => {
  const { a, b } = await pair();
  assert.equal(a.send('moat0', bob.publicKey), false);
  await a.setPeer('moat0', bob.publicKey, { endpoint: { host: BOB, port: 51_820 } });
  assert.equal(a.send('moat0', bob.publicKey), true);
  assert.equal(b.send('moat0', alice.publicKey), true);
  const [peer] = await b.peers('moat0');
  assert.deepEqual([peer?.endpoint, peer?.handshakeAt], [{ host: ALICE, port: 51_820 }, 1_000_000]);
});

test('behind a router one is seen elsewhere; a keepalive shakes hands at once', async () => {
  const { a, b } = await pair((source, target) =>
    source.host === ALICE ? { host: '198.51.100.7', port: 4711 } : target.host === ALICE ? null : source,
  );
  await a.setPeer('moat0', bob.publicKey, { endpoint: { host: BOB, port: 51_820 }, keepaliveSeconds: 25 });
  const [peer] = await b.peers('moat0');
  assert.deepEqual(peer?.endpoint, { host: '198.51.100.7', port: 4711 });
  await b.setPeer('moat0', alice.publicKey, { endpoint: { host: ALICE, port: 51_820 } });
  assert.equal(b.send('moat0', alice.publicKey), false);
});

test('a socket sees for which key a handshake is; loopback is each machine’s own', async () => {
  const { air, a, b } = await pair();
  const seen: [AirPacket, Endpoint][] = [];
  const listener = (packet: AirPacket, source: Endpoint): boolean => {
    seen.push([packet, source]);
    return false;
  };
  const anchor = { host: '203.0.113.1', port: 4411 };
  const ride = { host: '127.0.0.1', port: 5000 };
  const close = air.listen(anchor.host, anchor, listener);
  air.listen(BOB, ride, listener);
  const { publicKey } = createWireguardKey();
  await a.probe('moat0', publicKey, anchor);
  await a.setPeer('moat0', bob.publicKey, { endpoint: ride, keepaliveSeconds: 1 });
  await b.setPeer('moat0', alice.publicKey, { endpoint: ride, keepaliveSeconds: 1 });
  close();
  await a.probe('moat0', publicKey, anchor);
  const kind = 'initiation';
  assert.deepEqual(seen, [
    [
      { kind, to: publicKey, from: alice.publicKey },
      { host: ALICE, port: 51_820 },
    ],
    [
      { kind, to: alice.publicKey, from: bob.publicKey },
      { host: BOB, port: 51_820 },
    ],
  ]);
});

test('a peer that goes is no longer answered; what failed is closed', async () => {
  const { a, b } = await pair();
  await a.setPeer('moat0', bob.publicKey, { endpoint: { host: BOB, port: 51_820 } });
  assert.ok(a.send('moat0', bob.publicKey));
  b.failWith('TUNNEL_FAILED');
  await assert.rejects(b.apply(specOf(bob.privateKey, alice.publicKey, 3)), (error) =>
    isMoatError(error, 'TUNNEL_FAILED'),
  );
  assert.ok(b.closed('moat0') && !a.send('moat0', bob.publicKey));
  b.failWith(null);
  await b.apply({ ...specOf(bob.privateKey, alice.publicKey, 3), peers: [] });
  assert.equal(a.send('moat0', bob.publicKey), false);
  await b.apply(specOf(bob.privateKey, alice.publicKey, 3));
  assert.equal(a.send('moat0', bob.publicKey), true);
  await b.remove('moat0');
  assert.equal(a.send('moat0', bob.publicKey), false);
});

test('a preshared key stays until it is taken away', async () => {
  const { a } = await pair();
  const key = createWireguardKey().privateKey;
  await a.setPeer('moat0', bob.publicKey, { presharedKey: key });
  await a.setPeer('moat0', bob.publicKey, { keepaliveSeconds: 0 });
  assert.equal(a.presharedKey('moat0', bob.publicKey), key);
  await a.setPeer('moat0', bob.publicKey, { presharedKey: null });
  assert.equal(a.presharedKey('moat0', bob.publicKey), null);
});
