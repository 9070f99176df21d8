import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Deployment } from '../../src/deployments/deployment.ts';
import { netcheckOf } from '../../src/wireguard/report.ts';

test('a network without an interface says so when it is asked how the world sees it', async () => {
  const deployment = { id: 'a'.repeat(26), contract: { name: 'shop' } } as unknown as Deployment;
  const asked = netcheckOf({ plane: () => undefined }, deployment, new AbortController().signal);
  await assert.rejects(asked, { code: 'PLANE_OFF', message: 'shop has no WireGuard interface here' });
});
