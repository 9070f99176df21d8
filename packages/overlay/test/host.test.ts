import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import { createNodeKey, toLibp2pPrivateKey } from '@moat/identity';
import { createHost, type Host } from '../src/host.ts';
import { DEFAULT_LIMITS } from '../src/limits.ts';
import { soon, until } from './world.fixture.ts';

async function host(listen: readonly string[], heard: string[]): Promise<Host> {
  return createHost(
    {
      logger: silentLogger,
      clock: systemClock,
      privateKey: await toLibp2pPrivateKey(createNodeKey()),
      gate: () => Promise.resolve(),
      prepare: () => Promise.resolve(),
      onConnection: () => undefined,
      onNeighbour: () => undefined,
      isInside: () => false,
      onIdentified: ({ listenAddrs }) => void heard.push(listenAddrs.join()),
    },
    { listen, announce: [], mdns: false, limits: DEFAULT_LIMITS },
  );
}

test('whoever was identified is told of other addresses unasked', async () => {
  const heard: string[] = [];
  const near = await host([], heard);
  const far = await host(['/ip4/127.0.0.1/tcp/0'], []);
  try {
    const [address = ''] = far.libp2p.getMultiaddrs().map(String);
    const connection = await near.dial(address, soon());
    await near.libp2p.services.identify.identify(connection, { signal: soon() });
    assert.equal(heard.length, 1);
    const [back] = far.libp2p.getConnections();
    assert.ok(back);
    await far.libp2p.services.identify.identify(back, { signal: soon() });
    far.tellAddresses();
    await until(() => heard.length === 2, 'told');
    assert.equal(heard[1], heard[0]);
  } finally {
    for (const { libp2p } of [near, far]) await libp2p.stop();
  }
});
