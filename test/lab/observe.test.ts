/** Real WireGuard and what carries its packets: an anchor, a forwarder, a link. Loopback is all it takes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { silentLogger, systemClock, type PeerId, type TunnelSpec, type Tunnels } from '@moat/core';
import { buildView, type ContractView } from '@moat/contract';
import { createNodeKey, initiationTestOf } from '@moat/identity';
import { createLinks } from '@moat/link';
import { ForwardDesk, Forwarder, LinkRide, openForward } from '@moat/network';
import { createMemoryAddressBook, createOverlay, noDeployments, type Overlay } from '@moat/overlay';
import { createMemoryNetwork } from '@moat/testkit';
import { createMachineTunnels, createWireguardKey } from '@moat/wireguard';
import { eventually } from '../e2e/machine.ts';
import { labSkip } from './internet.ts';

const DEPLOYMENT = 'abcdefghijklmnopqrstuvwx23';
const id = process.pid.toString(36);
const [ALICE, BOB] = [`mob${id}`, `moc${id}`];
const [aliceKey, bobKey] = [createWireguardKey(), createWireguardKey()];
const [alice, bob, carol] = [createNodeKey().peerId, createNodeKey().peerId, createNodeKey().peerId];
const soon = (): AbortSignal => AbortSignal.timeout(15_000);
const throwaway = (): string => createWireguardKey().publicKey;

function spec(name: string, last: number, own: typeof aliceKey, peer: typeof aliceKey): TunnelSpec {
  return {
    name,
    namespace: null,
    privateKey: own.privateKey,
    port: 21_300 + last,
    mtu: 1380,
    addresses: [`10.78.0.${last}/32`],
    routes: [],
    peers: [{ publicKey: peer.publicKey, allowedIps: [`10.78.1.${last}/32`] }],
    rules: { chains: 'chain arriving { type filter hook input priority 0; policy accept; }' },
  };
}

function view(): ContractView {
  const member = (name: string, node: PeerId, last: number, wireguard?: string): object => ({
    name,
    node,
    tags: [],
    ipv4: `10.78.0.${last}`,
    ...(wireguard === undefined ? {} : { wireguard }),
  });
  const contract = {
    type: 'moat/contract/1',
    deployment: DEPLOYMENT,
    name: 'shop',
    version: 0,
    owners: { threshold: 1, keys: [] },
    anchors: [],
    network: { ipv4: '10.78.0.0/16', plane: 'auto' },
    members: [
      member('alice', alice, 1, aliceKey.publicKey),
      member('bob', bob, 2, bobKey.publicKey),
      member('carol', carol, 3),
    ],
    services: [{ name: 'db', on: ['bob'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' }],
    access: [{ from: ['alice'], to: ['db'] }],
    publish: [],
    state: 'active',
  };
  return buildView(contract as unknown as ContractView['contract'], [], Date.now());
}

suite('real WireGuard', { skip: labSkip('wg', 'wireguard-go') }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-lab-'));
  let tunnels: Tunnels;

  before(async () => {
    tunnels = await createMachineTunnels({ directory });
    await tunnels.apply(spec(ALICE, 1, aliceKey, bobKey));
    await tunnels.apply(spec(BOB, 2, bobKey, aliceKey));
  });

  after(async () => {
    for (const name of [ALICE, BOB]) await tunnels.remove(name);
    rmSync(directory, { recursive: true });
  });

  test('an anchor sees the port of the interface', async () => {
    const make = (anchor: boolean): Overlay =>
      createOverlay(
        {
          logger: silentLogger,
          clock: systemClock,
          key: createNodeKey(),
          deployments: noDeployments,
          addressBook: createMemoryAddressBook(),
        },
        { listen: anchor ? ['/ip4/127.0.0.1/tcp/0'] : [], anchor, mdns: false },
      );
    await using anchor = make(true);
    await using member = make(false);
    await anchor.start({ signal: soon() });
    await member.start({ signal: soon() });
    const connection = await member.dial(anchor.addresses(), soon());
    const key = throwaway();
    const { listening, observed } = await member.observe(connection, key, soon());
    await tunnels.probe(ALICE, key, listening);
    assert.deepEqual(await observed, { host: '127.0.0.1', port: 21_301 });
    await tunnels.endProbe(ALICE, key);
  });

  test('two interfaces shake hands through a forwarder', async () => {
    const network = createMemoryNetwork();
    const [a, b, control] = [alice, bob, carol].map((peer) => network.join(peer));
    assert.ok(a !== undefined && b !== undefined && control !== undefined);
    const common = { clock: systemClock, logger: silentLogger };
    const forwarder = new Forwarder({ ...common, self: carol, initiations: initiationTestOf, viewOf: () => view() });
    const desk = new ForwardDesk({ ...common, control, forwarder, views: () => [view()] });
    desk.start();
    using _ = { [Symbol.dispose]: () => desk.stop() };
    const sides = [
      { own: a, peer: bob, name: ALICE, key: bobKey.publicKey },
      { own: b, peer: alice, name: BOB, key: aliceKey.publicKey },
    ] as const;
    for (const { own, peer, name, key } of sides) {
      const connection = network.connect(own.self, carol);
      const pair = { deployment: DEPLOYMENT, peer };
      const session = await openForward({ control: own, clock: systemClock }, connection, pair, soon());
      await tunnels.probe(name, session.key, session.endpoint);
      assert.equal((await session.learned).port, name === ALICE ? 21_301 : 21_302);
      await tunnels.endProbe(name, session.key);
      await tunnels.setPeer(name, key, { endpoint: session.endpoint, keepaliveSeconds: 1 });
    }
    await eventually('a handshake through the forwarder', shaken);
    const [pair] = forwarder.pairs();
    assert.ok((pair?.packets ?? 0) >= 2);
  });

  test('two interfaces shake hands over a link', async () => {
    await using stack = new AsyncDisposableStack();
    const network = createMemoryNetwork();
    const common = { clock: systemClock, logger: silentLogger };
    const ride = async (self: PeerId, peer: PeerId, wireguardPort: number): Promise<LinkRide> => {
      const links = createLinks(
        { ...common, control: network.join(self), accept: (stream) => made.take(stream) },
        { role: 'member', mayLink: () => true, listen: { host: '127.0.0.1', port: 0 } },
      );
      await links.start({ signal: soon() });
      stack.defer(() => links.stop());
      const made = new LinkRide(
        { ...common, links },
        { deployment: DEPLOYMENT, peer, wireguardPort, leads: self < peer },
      );
      await made.start();
      stack.defer(() => made.close());
      return made;
    };
    const there = await ride(alice, bob, 21_301);
    const back = await ride(bob, alice, 21_302);
    network.connect(alice, bob);
    const before = await handshakes();
    // Who roams by itself is the other side: its peer speaks from the ride.
    await tunnels.setPeer(BOB, aliceKey.publicKey, { keepaliveSeconds: 0 });
    await tunnels.setPeer(ALICE, bobKey.publicKey, { endpoint: there.endpoint, keepaliveSeconds: 1 });
    await eventually('packets over the link', () => Promise.resolve(there.counts.sent > 0 && back.counts.received > 0));
    await eventually('the other side answers by its ride', async () => {
      const [peer] = await tunnels.peers(BOB);
      return peer?.endpoint?.port === back.endpoint.port;
    });
    assert.equal(there.path, 'direct');
    assert.ok(before.every((at) => at !== null));
  });

  async function handshakes(): Promise<readonly (number | null)[]> {
    const states = await Promise.all([tunnels.peers(ALICE), tunnels.peers(BOB)]);
    return states.flatMap((peers) => peers.map(({ handshakeAt }) => handshakeAt));
  }

  async function shaken(): Promise<boolean> {
    return (await handshakes()).every((at) => at !== null);
  }
});
