/** What this machine knows of its own side: consent, the program behind a target, the age of what it goes by. */
import { connect } from 'node:net';
import { parseTarget, type Service } from '@moat/contract';
import type { Deployment } from '../deployments/deployment.ts';
import { consentLine } from '../publications/withheld.ts';
import type { ExplainDeps, Finding } from './finding.ts';

const ANSWER_MS = 2_000;

/** Why what is sent to a service would end here; undefined when it would not. `line` is the contract's own reason. */
export async function ownSide(
  { exposed }: Pick<ExplainDeps, 'exposed'>,
  deployment: Deployment,
  { target, protocol }: Pick<Service, 'target' | 'protocol'>,
  isPublic: boolean,
  line: string,
  granted: { readonly allowed: boolean; readonly grant?: number },
): Promise<Finding | undefined> {
  const { id, contract } = deployment;
  if (!exposed.isExposed(target, id, isPublic)) {
    return {
      allowed: false,
      works: false,
      code: isPublic ? 'NOT_PUBLIC' : 'NOT_EXPOSED',
      reason: `${line}, but this machine did not expose ${target}${isPublic ? ' to gateways' : ''}`,
      next: [isPublic ? consentLine(deployment, { target }) : `moat node expose ${target} --to ${contract.name}`],
    };
  }
  // A program that takes datagrams answers what it likes.
  if (protocol === 'udp' || (await answers(target))) return undefined;
  return {
    ...granted,
    works: false,
    code: 'SERVICE_UNREACHABLE',
    reason: `${line}, but nothing answers at ${target} on this machine`,
    next: ['start the service'],
  };
}

/** Why this machine opens and takes nothing at all. */
export function staleHere(deployment: Deployment, now: number): Finding | undefined {
  if (deployment.staleness(now) !== 'stale') return undefined;
  const hours = Math.floor(deployment.ageMs(now) / 3_600_000);
  return {
    allowed: false,
    works: false,
    code: 'STALE',
    reason: `no keeper has confirmed version ${deployment.contract.version} to this machine for ${hours} h, longer than maxStale`,
    next: ['bring a keeper into reach: moat status shows them'],
  };
}

/** Whether a program accepts connections at a target of this machine, which its operator exposed. Never rejects. */
function answers(target: string): Promise<boolean> {
  const { host, port } = parseTarget(target);
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_MS });
    const end = (answered: boolean) => (): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}
