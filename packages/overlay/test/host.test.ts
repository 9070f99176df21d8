import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bareHost } from './host.fixture.ts';
import { soon, until } from './world.fixture.ts';

test('whoever was identified is told of other addresses unasked', async () => {
  const heard: string[] = [];
  await using near = await bareHost([], { onIdentified: ({ listenAddrs }) => void heard.push(listenAddrs.join()) });
  await using far = await bareHost(['/ip4/127.0.0.1/tcp/0']);
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
});
