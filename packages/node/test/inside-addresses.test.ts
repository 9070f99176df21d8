import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipv6Of } from '@moat/contract';
import type { Deployment } from '../src/deployments/deployment.ts';
import { isInsideAddress } from '../src/inside-addresses.ts';

const id = 'abcdefghijklmnopqrstuvwxyz';

function deployment(members: readonly string[], plane = 'auto'): Deployment {
  const places = new Map(members.map((name, i) => [name, { name, ipv4: `10.77.0.${i + 2}` }]));
  return { id, view: { contract: { network: { plane } }, places } } as unknown as Deployment;
}

test('addresses of members lie inside, and the rest of the range does not', () => {
  const list = [deployment(['web', 'db'])];
  const asked = ['10.77.0.3', '10.77.0.9', ipv6Of(id, 'db'), ipv6Of(id, 'cache'), 'fd00::1'];
  assert.deepEqual(
    asked.map((host) => isInsideAddress(list, host)),
    [true, false, true, false, false],
  );
});

test('a new version is asked, and a network without interfaces never', () => {
  const cache = ipv6Of(id, 'cache');
  assert.equal(isInsideAddress([deployment(['web'])], cache), false);
  assert.equal(isInsideAddress([deployment(['web', 'cache'])], cache), true);
  assert.equal(isInsideAddress([deployment(['web', 'cache'], 'rootless')], cache), false);
});
