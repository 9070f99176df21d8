/** What the endpoints about WireGuard do. */
import { MoatError } from '@moat/core';
import type { AgentEndpoints, Handlers, WireguardStatus } from '@moat/admin-api';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { WireguardAtWork } from '../wireguard/create-wireguard.ts';
import { netcheckOf, wireguardStatusOf } from '../wireguard/report.ts';
import type { Wireguard } from '../wireguard/wireguard.ts';

/** Milliseconds that a ping looks for a direct way first. */
const DIRECT_MS = 1_000;
const NETCHECK_MS = 20_000;

type Names = 'wireguard' | 'netcheck' | 'wireguardUp' | 'wireguardDown' | 'wireguardRotateKey';

export function wireguardHandlers(
  { keys, claims, interfaces }: WireguardAtWork,
  find: (params: Readonly<Record<string, string>>) => Deployment,
): Pick<Handlers<AgentEndpoints>, Names> {
  const statusOf = (deployment: Deployment): Promise<WireguardStatus> =>
    wireguardStatusOf({ wireguard: interfaces, keys }, deployment);
  return {
    wireguard: ({ params }) => statusOf(find(params)),
    netcheck: ({ params, signal }) => {
      const late = new MoatError('PATH_TIMEOUT', 'the anchors did not answer in time', { retryable: true });
      return netcheckOf(interfaces, find(params), deadline(NETCHECK_MS, late, signal));
    },
    wireguardUp: async ({ params, body }) => {
      const deployment = find(params);
      await interfaces.up(deployment, body);
      return statusOf(deployment);
    },
    wireguardDown: async ({ params }) => {
      await interfaces.down(find(params).id);
      return { done: true };
    },
    wireguardRotateKey: async ({ params }) => {
      const deployment = find(params);
      if (deployment.place === undefined) {
        throw new MoatError('NOT_A_MEMBER', `this machine has no place in ${deployment.contract.name}`);
      }
      await keys.makeNext(deployment.id);
      await claims.watch(deployment.id);
      return statusOf(deployment);
    },
  };
}

/** Resolves when WireGuard packets go directly to whoever is meant, or after a second. Never rejects. */
export async function lookForDirect(
  interfaces: Wireguard,
  { id, view }: Deployment,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  const plane = interfaces.plane(id);
  const peer = (view.places.get(target) ?? view.membersOn(target)[0])?.peer ?? null;
  if (plane === undefined || peer === null || plane.pathOf(peer) === undefined) return;
  const late = new MoatError('PATH_TIMEOUT', 'no direct way yet', { retryable: true });
  await plane.untilDirect(peer, deadline(DIRECT_MS, late, signal)).catch(() => undefined);
}
