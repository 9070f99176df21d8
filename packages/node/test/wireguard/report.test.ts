import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Deployment } from '../../src/deployments/deployment.ts';
import { interfaceNotices } from '../../src/wireguard/notices.ts';
import { netcheckOf, wireguardStatusOf } from '../../src/wireguard/report.ts';
import type { Wireguard } from '../../src/wireguard/wireguard.ts';

test('a network without an interface says so when it is asked how the world sees it', async () => {
  const deployment = { id: 'a'.repeat(26), contract: { name: 'shop' } } as unknown as Deployment;
  const asked = netcheckOf({ plane: () => undefined }, deployment, new AbortController().signal);
  await assert.rejects(asked, { code: 'PLANE_OFF', message: 'shop has no WireGuard interface here' });
});

test('a network whose owners want WireGuard, without an interface here, is named in the status', () => {
  const deployment = (plane: string, state = 'active'): Deployment =>
    ({ id: 'a', place: {}, view: { contract: { name: 'shop', network: { plane }, state } } }) as unknown as Deployment;
  const codes = (each: Deployment): readonly string[] =>
    interfaceNotices([each], { get: () => undefined }).map(({ code }) => code);
  assert.deepEqual(codes(deployment('wireguard')), ['WIREGUARD_OFF']);
  assert.deepEqual(codes(deployment('rootless')), []);
  assert.deepEqual(codes(deployment('wireguard', 'ended')), []);
});

test('a member that may leave to the internet is told that this takes a namespace of its own', async () => {
  const deployment = { id: 'a', place: {}, view: { contract: { name: 'shop' } } } as unknown as Deployment;
  const codesIn = async (netns: string | null): Promise<readonly string[]> => {
    const layout = { name: 'moat0', addresses: [], unserved: [], leavesBy: 'hub' };
    const plane = { state: { phase: 'up', layout }, peers: () => Promise.resolve([]) };
    const tunneled = { plane, stored: { netns, port: 1 }, error: null, remap: null };
    const wireguard = { get: () => tunneled, backend: 'kernel' } as unknown as Pick<Wireguard, 'get' | 'backend'>;
    const { warnings } = await wireguardStatusOf(
      { wireguard, keys: { next: () => Promise.resolve(undefined) } },
      deployment,
    );
    return warnings.map(({ code }) => code);
  };
  assert.deepEqual(await codesIn(null), ['EGRESS_NEEDS_NETNS']);
  assert.deepEqual(await codesIn('web'), []);
});
