/** What every implementation of the port `Tunnels` does: run against memory and, where it can be, this machine. */
import { isMoatError, type TunnelSpec, type Tunnels } from '@moat/core';
import { createWireguardKey } from '@moat/wireguard';
import assert from 'node:assert/strict';
import { test } from 'node:test';

/** Where the suite runs. */
export interface Bench {
  /** A new process on the same machine. */
  readonly open: () => Promise<Tunnels>;
  readonly namespace: string | null;
  /** A name that nobody has. */
  readonly name: string;
  /** A UDP port that nobody has. */
  readonly port: number;
}

const HOST = { host: '127.0.0.1', port: 9 };
const chains = (port: number): string => `chain arriving {
  type filter hook input priority 0; policy accept;
  iifname "moatc*" tcp dport ${port} accept
  iifname "moatc*" drop
}`;

/** One suite for all. */
export function testTunnels(what: string, skip: string | false, bench: () => Bench): void {
  const [alice, bob, carol] = ['a', 'b', 'c'].map(() => createWireguardKey());
  assert.ok(alice && bob && carol);
  const specOf = ({ name, namespace, port }: Bench): TunnelSpec => ({
    name,
    namespace,
    port,
    privateKey: alice.privateKey,
    mtu: 1380,
    addresses: ['10.77.0.2/16', 'FD00:77:0::2/64'],
    routes: ['10.77.0.0/16', 'fd00:77::/64'],
    peers: [
      { publicKey: bob.publicKey, allowedIps: ['10.77.0.3/32', '10.77.0.9', 'fd00:77::3/128'] },
      { publicKey: carol.publicKey, allowedIps: ['10.77.0.4/32'] },
    ],
    rules: { chains: chains(80) },
  });
  const run = (title: string, body: (tunnels: Tunnels, spec: TunnelSpec, at: Bench) => Promise<void>): void => {
    test(`${what}: ${title}`, { skip }, async () => {
      const at = bench();
      const tunnels = await at.open();
      try {
        await body(tunnels, specOf(at), at);
      } finally {
        await tunnels.remove(at.name);
      }
      assert.ok(!(await tunnels.list()).includes(at.name));
    });
  };
  const peerOf = async (tunnels: Tunnels, name: string, key: string) =>
    (await tunnels.peers(name)).find(({ publicKey }) => publicKey === key);

  run('an interface is made, listed, adopted without a change, and removed twice', async (tunnels, spec, at) => {
    assert.ok((await tunnels.apply(spec)).includes('interface created'));
    assert.deepEqual(await tunnels.apply(spec), []);
    const next = await at.open();
    assert.deepEqual(await next.apply({ ...spec, addresses: spec.addresses.toReversed() }), []);
    assert.ok((await next.list()).includes(spec.name));
    assert.deepEqual(
      (await next.peers(spec.name)).map(({ publicKey, allowedIps }) => [publicKey, allowedIps.toSorted()]).toSorted(),
      [
        [bob.publicKey, ['10.77.0.3/32', '10.77.0.9/32', 'fd00:77::3/128']],
        [carol.publicKey, ['10.77.0.4/32']],
      ].toSorted(),
    );
    await next.remove(spec.name);
    await tunnels.remove(spec.name);
    await assert.rejects(tunnels.peers(spec.name), (error) => isMoatError(error, 'TUNNEL_UNKNOWN'));
  });

  run('an allowed IP moves, and nothing else is touched', async (tunnels, spec) => {
    await tunnels.apply(spec);
    await tunnels.setPeer(spec.name, bob.publicKey, {
      endpoint: HOST,
      keepaliveSeconds: 25,
      presharedKey: createWireguardKey().privateKey,
    });
    const peers = [
      { publicKey: bob.publicKey, allowedIps: ['10.77.0.3/32', 'fd00:77::3/128'] },
      { publicKey: carol.publicKey, allowedIps: ['10.77.0.4/32', '10.77.0.9/32'] },
    ];
    assert.deepEqual(await tunnels.apply({ ...spec, peers }), [
      `allowed IP 10.77.0.9/32 taken from ${bob.publicKey}`,
      `peer ${carol.publicKey} now has 10.77.0.4/32, 10.77.0.9/32`,
    ]);
    assert.deepEqual(await tunnels.apply({ ...spec, peers }), []);
    const peer = await peerOf(tunnels, spec.name, bob.publicKey);
    assert.deepEqual(peer?.endpoint, HOST);
    assert.equal(peer.keepaliveSeconds, 25);
    assert.deepEqual(peer.allowedIps.toSorted(), ['10.77.0.3/32', 'fd00:77::3/128']);
  });

  run('peers are cut off and rules replaced at once, and apply finds nothing more to do', async (tunnels, spec, at) => {
    const [bobs = { publicKey: '', allowedIps: [] }, carols = bobs] = spec.peers;
    await assert.rejects(tunnels.cut(at.name, [bobs.publicKey], spec.rules), (error) =>
      isMoatError(error, 'TUNNEL_UNKNOWN'),
    );
    await tunnels.apply(spec);
    const probe = createWireguardKey().publicKey;
    await tunnels.probe(spec.name, probe, HOST);
    const rules = { chains: chains(81) };
    const done = await tunnels.cut(spec.name, [bobs.publicKey, probe], rules);
    assert.deepEqual(done, [`peer ${bobs.publicKey} removed`, 'packet rules replaced']);
    assert.deepEqual(
      (await tunnels.peers(spec.name)).map(({ publicKey }) => publicKey).toSorted(),
      [carols.publicKey, probe].toSorted(),
    );
    assert.deepEqual(await tunnels.cut(spec.name, [bobs.publicKey], rules), []);
    assert.deepEqual(await tunnels.apply({ ...spec, peers: [carols], rules }), []);
    await tunnels.remove(spec.name);
    await assert.rejects(tunnels.cut(spec.name, [], rules), (error) => isMoatError(error, 'TUNNEL_UNKNOWN'));
  });

  run('what goes is taken away before anything comes', async (tunnels, spec) => {
    await tunnels.apply(spec);
    const done = await tunnels.apply({
      ...spec,
      addresses: ['10.77.0.12/16'],
      routes: ['10.77.0.0/16'],
      peers: [{ publicKey: carol.publicKey, allowedIps: ['10.77.0.3/32'] }],
      rules: { chains: chains(443) },
      mtu: 1300,
    });
    const words = done.map((line) =>
      /taken|removed/.test(line) ? 'goes' : line === 'packet rules replaced' ? 'rules' : 'comes',
    );
    assert.deepEqual(
      words,
      words.toSorted((a, b) => ['goes', 'rules', 'comes'].indexOf(a) - ['goes', 'rules', 'comes'].indexOf(b)),
    );
    assert.deepEqual((await tunnels.peers(spec.name)).length, 1);
  });

  run('a peer that is not there is not made by a change', async (tunnels, spec) => {
    await tunnels.apply({ ...spec, peers: [] });
    const change = tunnels.setPeer(spec.name, bob.publicKey, { endpoint: HOST });
    await assert.rejects(change, (error) => isMoatError(error, 'TUNNEL_UNKNOWN'));
    assert.deepEqual(await tunnels.peers(spec.name), []);
  });

  run('a probe sends at once, stays while peers change, and goes when it is taken back', async (tunnels, spec) => {
    await tunnels.apply(spec);
    const { publicKey } = createWireguardKey();
    await tunnels.probe(spec.name, publicKey, HOST);
    await tunnels.apply({ ...spec, peers: [] });
    const peer = await peerOf(tunnels, spec.name, publicKey);
    assert.deepEqual(peer?.endpoint, HOST);
    assert.equal(peer.sent, 148);
    await tunnels.probe(spec.name, publicKey, { ...HOST, port: 10 });
    assert.equal((await peerOf(tunnels, spec.name, publicKey))?.endpoint?.port, 10);
    await tunnels.endProbe(spec.name, publicKey);
    await tunnels.endProbe(spec.name, publicKey);
    assert.deepEqual(await tunnels.peers(spec.name), []);
  });

  run('an endpoint is an address, a probe is no peer', async (tunnels, spec) => {
    await tunnels.apply(spec);
    const name = tunnels.setPeer(spec.name, bob.publicKey, { endpoint: { host: 'gw.example.com', port: 1 } });
    await assert.rejects(name, (error) => isMoatError(error, 'TUNNEL_FAILED'));
    const probe = tunnels.probe(spec.name, bob.publicKey, HOST);
    await assert.rejects(probe, (error) => isMoatError(error, 'TUNNEL_FAILED'));
    await tunnels.endProbe(spec.name, bob.publicKey);
    assert.equal((await tunnels.peers(spec.name)).length, 2);
  });

  run('what cannot be is refused, and what stands is no longer open', async (tunnels, spec) => {
    await tunnels.apply(spec);
    for (const wrong of [
      { routes: ['10.77.0.0/33'] },
      { addresses: ['fe80::1%lo/64'] },
      { remap: { network: '10.77.0.0/16', as: '100.80.0.0/17' } },
      { remap: { network: 'fd00:77::/64', as: 'fd00:78::/64' } },
    ]) {
      await assert.rejects(tunnels.apply({ ...spec, ...wrong }), (error) => isMoatError(error, 'TUNNEL_FAILED'));
    }
    assert.deepEqual(await tunnels.apply(spec), ['packet rules replaced']);
  });

  run('a network stands under another range', async (tunnels, spec) => {
    const remap = { network: '10.77.0.0/16', as: '100.80.0.0/16' };
    const done = await tunnels.apply({ ...spec, remap });
    assert.ok(done.includes('address 100.80.0.2/16 added') && done.includes('route 100.80.0.0/16 added'));
    assert.deepEqual(await tunnels.apply({ ...spec, remap }), []);
    const peer = await peerOf(tunnels, spec.name, carol.publicKey);
    assert.deepEqual(peer?.allowedIps, ['10.77.0.4/32']);
  });

  test(`${what}: what is not there`, { skip }, async () => {
    const { open, name } = bench();
    const tunnels = await open();
    await tunnels.remove(name);
    const { publicKey } = createWireguardKey();
    for (const call of [
      tunnels.peers(name),
      tunnels.setPeer(name, publicKey, {}),
      tunnels.probe(name, publicKey, HOST),
    ]) {
      await assert.rejects(call, (error) => isMoatError(error, 'TUNNEL_UNKNOWN'));
    }
  });
}
