/** Which deployment a command is about, and what this machine's agent holds of it. */
import type { AgentClient, DeploymentDetail, DeploymentHeld, DeploymentSummary } from '@moat/admin-api';
import {
  parseContract,
  parseHeadProof,
  parseMemberClaim,
  type Contract,
  type HeadProof,
  type MemberClaim,
  type ProposalBase,
} from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import type { VerbOption } from '../verb.ts';

export const NETWORK_OPTION: VerbOption = {
  flags: '-n, --network <name>',
  text: 'the network (deployment) by name or id; needed where there are several',
  env: 'MOAT_NETWORK',
};

/**
 * The id of the deployment meant by `wanted`, or of the only one.
 * @throws `DEPLOYMENT_UNKNOWN`, `DEPLOYMENT_AMBIGUOUS`, `AGENT_NOT_RUNNING`
 */
export async function selectDeployment(agent: AgentClient, wanted: string | undefined): Promise<string> {
  const fitting = await selectDeployments(agent, wanted);
  const [only] = fitting;
  if (only !== undefined && fitting.length === 1) return only.id;
  throw new MoatError('DEPLOYMENT_AMBIGUOUS', `this machine is in ${fitting.length} networks that fit; say which`, {
    next: fitting.map(({ id, name }) => `--network ${fitting.some((o) => o.id !== id && o.name === name) ? id : name}`),
  });
}

/**
 * At least one: those meant by `wanted`, or all.
 * @throws `DEPLOYMENT_UNKNOWN`, `AGENT_NOT_RUNNING`
 */
export async function selectDeployments(
  agent: AgentClient,
  wanted: string | undefined,
): Promise<readonly DeploymentSummary[]> {
  const all = await agent.deployments();
  const named = wanted === undefined ? all : all.filter(({ id, name }) => id === wanted || name === wanted);
  if (named.length === 0) {
    const what = wanted === undefined ? 'this machine is in no network yet' : `this machine is in no network ${wanted}`;
    throw new MoatError('DEPLOYMENT_UNKNOWN', what, {
      next: wanted === undefined ? ['moat join TOKEN-FILE', 'moat init'] : [`moat status`],
    });
  }
  // What has ended is meant only where nothing else is.
  const running = named.filter(({ state }) => state !== 'ended');
  return running.length === 0 ? named : running;
}

/** A deployment with its signed documents parsed. */
export interface LoadedDeployment {
  readonly detail: DeploymentHeld;
  readonly contract: Contract;
  readonly proof: HeadProof;
  readonly claims: readonly MemberClaim[];
}

/** The same with the members as they are reached now. */
export interface SeenDeployment extends LoadedDeployment {
  readonly detail: DeploymentDetail;
}

/** As the rules of versions take it. */
export function heldOf({ contract, proof }: LoadedDeployment): ProposalBase {
  return { contract, head: proof.newest.head, proof };
}

/** @throws `AGENT_ANSWER_INVALID`, `CONTRACT_TOO_NEW` and what the agent answers. */
export async function loadDeployment({ agent, io }: Context, id: string): Promise<LoadedDeployment> {
  return parsed(await agent.held(id, { signal: io.signal }));
}

/** The agent asks gateways and keepers for it: only for what needs to know. @throws as {@link loadDeployment} */
export async function lookAtDeployment({ agent, io }: Context, id: string): Promise<SeenDeployment> {
  return parsed(await agent.deployment(id, { signal: io.signal }));
}

function parsed<Detail extends DeploymentHeld>(detail: Detail): LoadedDeployment & { readonly detail: Detail } {
  return {
    detail,
    contract: parseContract(detail.contract),
    proof: parseHeadProof(detail.proof),
    claims: detail.claims.map((claim) => parseMemberClaim(claim)),
  };
}
