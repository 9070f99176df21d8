/** UDP services: datagrams travel over WireGuard alone, and whether one is answered only the service knows. */
import type { Service } from '@moat/contract';
import type { Deployment } from '../deployments/deployment.ts';
import type { ExplainDeps, Finding } from './finding.ts';

/** Whether datagrams of this machine find a way to a machine that offers the service. `line` is the contract's own reason. */
export function datagramsTo(
  { plane }: Pick<ExplainDeps, 'plane'>,
  deployment: Deployment,
  { name }: Service,
  line: string,
): Pick<Finding, 'works' | 'code' | 'reason' | 'next'> {
  const offering = deployment.view.membersOn(name);
  const isMet = offering.some(({ peer }) => peer !== null && plane(deployment, peer) !== undefined);
  if (isMet) {
    const reason = `${line}; datagrams go over WireGuard, and whether one is answered only the service knows`;
    return { works: null, code: null, reason };
  }
  const keyless = offering.find(({ wireguard }) => wireguard === undefined);
  const who = keyless === undefined ? 'this machine' : keyless.name;
  const up = `moat wireguard up -n ${deployment.contract.name}`;
  return {
    works: false,
    code: 'NEEDS_WIREGUARD',
    reason: `${line}, but ${name} takes datagrams (UDP), and ${who} has no WireGuard interface for the network`,
    next: [keyless === undefined ? up : `on ${keyless.name}: ${up}`],
  };
}
