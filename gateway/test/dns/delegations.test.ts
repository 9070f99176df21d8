/** Hosts of others whose challenges are asked of us. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createManualClock } from '@moat/testkit';
import { Delegations } from '../../src/dns/delegations.ts';

test('a host leads here by CNAME into the zone or by our name servers, as seen within the hour', async () => {
  const clock = createManualClock(0);
  const ways = new Map([
    ['_acme-challenge.www.shop.example', ['www.shop.example._acme.apps.example.com']],
    ['_acme-challenge.shop.example', ['ns.apps.example.com']],
    ['_acme-challenge.other.example', ['www.shop.example._acme.apps.example.com']],
  ]);
  const asked: string[] = [];
  const lookup = async (name: string): Promise<readonly string[]> => {
    asked.push(name);
    return ways.get(name) ?? Promise.reject(new Error('silent'));
  };
  const delegations = new Delegations({ clock, lookup }, { domain: 'apps.example.com', ns: ['ns.apps.example.com'] });
  const hosts = ['www.shop.example', 'shop.example', 'other.example', 'silent.example'];
  assert.deepEqual(
    hosts.map((host) => delegations.leadsHere(host)),
    [false, false, false, false],
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(
    hosts.map((host) => delegations.leadsHere(host)),
    [true, true, false, false],
  );
  assert.equal(asked.length, 4);
  ways.delete('_acme-challenge.shop.example');
  clock.advance(3_600_000);
  assert.equal(delegations.leadsHere('shop.example'), true);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(delegations.leadsHere('shop.example'), false);
});
