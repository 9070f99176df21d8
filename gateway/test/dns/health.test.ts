/** Which gateways of a domain clients are sent to, and what is said about who may issue. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { caaRecords, caaText } from '../../src/dns/caa.ts';
import { DnsChallenges } from '../../src/dns/challenges.ts';
import { createDnsSolver } from '../../src/dns/dns-solver.ts';
import { PeerHealth } from '../../src/dns/health.ts';
import { home, started } from '../whole-gateway.ts';

test('a gateway that fails twice is left out, and comes back after two answers; there is always one', async () => {
  const clock = createManualClock(0);
  const well = new Set(['192.0.2.2', '192.0.2.3']);
  const peers = ['192.0.2.2', '192.0.2.3'].map((host) => ({ host, port: 443 }));
  await using health = new PeerHealth(
    { clock, logger: silentLogger, probe: async ({ host }) => well.has(host) },
    { domain: 'apps.example.com', own: ['192.0.2.1'], peers },
  );
  await health.start({ signal: AbortSignal.timeout(1_000) });
  const round = async (): Promise<void> => {
    clock.advance(10_000);
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  await round();
  assert.deepEqual(health.addresses(), ['192.0.2.1', '192.0.2.2', '192.0.2.3']);
  well.delete('192.0.2.2');
  await round();
  assert.equal(health.addresses().length, 3, 'once may be chance');
  await round();
  assert.deepEqual(health.addresses(), ['192.0.2.1', '192.0.2.3']);
  assert.equal(health.all().length, 3);
  well.clear();
  await round();
  await round();
  assert.deepEqual(health.addresses(), ['192.0.2.1']);
  well.add('192.0.2.2');
  await round();
  await round();
  assert.deepEqual(health.addresses(), ['192.0.2.1', '192.0.2.2']);
  assert.equal(health.changes, 3);
  health.leave();
  assert.deepEqual(health.addresses(), ['192.0.2.2'], 'one that goes down names the others');
  well.clear();
  await round();
  await round();
  assert.deepEqual(health.addresses(), ['192.0.2.1'], 'and itself where there is none');
});

test('another gateway is asked over https whether it serves the domain', async () => {
  await using state = await home();
  await using gateway = await started(state.config);
  const clock = createManualClock(0);
  const healthOf = async (domain: string, port: number): Promise<readonly string[]> => {
    const peers = [{ host: '127.0.0.1', port }];
    await using health = new PeerHealth({ clock, logger: silentLogger }, { domain, own: ['192.0.2.1'], peers });
    await health.ask();
    await health.ask();
    return health.addresses();
  };
  const { httpsPort, linkPort = 0 } = gateway.addresses;
  assert.deepEqual(await healthOf('localhost', httpsPort), ['192.0.2.1', '127.0.0.1']);
  assert.deepEqual(await healthOf('elsewhere.example', httpsPort), ['192.0.2.1']);
  assert.deepEqual(await healthOf('localhost', linkPort), ['192.0.2.1']);
});

test('CAA names our account where we order, and keeps out of the way where a member does', () => {
  const issuers = [{ identity: 'ca.example', accountUri: 'https://ca.example/acct/1' }];
  const named = caaRecords(issuers, { tls: 'terminate', wildcard: false });
  assert.deepEqual(
    named.map((record) => caaText('www.shop.example', record)),
    [
      'www.shop.example. CAA 0 issue "ca.example; accounturi=https://ca.example/acct/1"',
      'www.shop.example. CAA 0 issuewild ";"',
    ],
  );
  assert.equal(caaRecords(issuers, { tls: 'terminate', wildcard: true }).length, 1);
  assert.deepEqual(caaRecords(issuers, { tls: 'passthrough', wildcard: false }), [{ tag: 'issuewild', value: ';' }]);
  assert.deepEqual(caaRecords([], { tls: 'terminate', wildcard: false }), []);
});

test('the solver puts several values under one name, and takes away its own', async () => {
  const challenges = new DnsChallenges();
  const solver = createDnsSolver(challenges, (host) => host === 'apps.example.com');
  const of = (keyAuthorization: string): Parameters<typeof solver.present>[0] => ({
    kind: 'dns-01',
    name: 'apps.example.com',
    token: 't',
    keyAuthorization,
  });
  const { signal } = new AbortController();
  await solver.present(of('one'), signal);
  await solver.present(of('two'), signal);
  assert.equal(new Set(challenges.valuesOf('apps.example.com')).size, 2);
  await solver.remove(of('one'));
  await solver.remove(of('one'));
  // SHA-256 of the key authorization, RFC 8555 §8.4.
  assert.deepEqual(challenges.valuesOf('apps.example.com'), ['P8TM_nRYcOLA2Z9x8w_wZWyN7dQcwdfT03aw2-aF4vM']);
  await solver.remove(of('two'));
  assert.deepEqual([...challenges.hosts()], []);
  assert.deepEqual([solver.solves('apps.example.com', true), solver.solves('www.shop.example', false)], [true, false]);
  for (let i = 0; i < 1_000; i++) challenges.add('apps.example.com', String(i));
  assert.throws(() => challenges.add('apps.example.com', 'more'), { code: 'GATEWAY_BUSY' });
});
