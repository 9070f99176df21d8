import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { GatewaySession } from '../src/publications/gateway-session.ts';

test('a gateway is dialed at the addresses that contracts give it now, not at all they ever gave', () => {
  const dialed: (readonly string[])[] = [];
  let released = 0;
  const session = new GatewaySession(
    {
      overlay: {
        keep: ({ addresses }) => {
          dialed.push(addresses);
          return () => void (released += 1);
        },
        publish: () => Promise.reject(new Error('not connected')),
      },
      links: { connect: () => Promise.reject(new Error('not connected')), get: () => undefined },
      clock: createManualClock(),
      logger: silentLogger,
      bundle: () => undefined,
      onShowing: () => undefined,
      onAnswer: () => undefined,
      onState: () => undefined,
    },
    'gateway',
  );
  session.show('a', ['/ip4/192.0.2.1/tcp/1']);
  session.show('a', ['/ip4/192.0.2.1/tcp/1']);
  session.show('b', ['/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.2/tcp/1']);
  session.show('a', ['/ip4/192.0.2.3/tcp/1']);
  assert.equal(session.drop('b'), false);
  session.show('a', ['/ip4/192.0.2.3/tcp/1']);
  session.stop();
  assert.deepEqual(dialed, [
    ['/ip4/192.0.2.1/tcp/1'],
    ['/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.2/tcp/1'],
    ['/ip4/192.0.2.3/tcp/1', '/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.2/tcp/1'],
    ['/ip4/192.0.2.3/tcp/1'],
  ]);
  assert.equal(released, dialed.length);
});
