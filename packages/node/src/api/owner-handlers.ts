/** Endpoints for owners: sessions, proposals, and the next version. */
import { MoatError, type PeerId } from '@moat/core';
import { parseContract, parseProposal, parseSignedHead, parseSignedOwnerProof, sealedContract } from '@moat/contract';
import type { AgentEndpoints, Handlers, ProposalStatus, VersionAccepted } from '@moat/admin-api';
import type { ProposalReport } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { OwnersAtWork } from '../owners/create-owners.ts';
import type { DeskPut } from '../owners/owner-desk.ts';
import { documentOf, timeText } from './report.ts';

type OwnerEndpoint =
  | 'submitVersion'
  | 'ownerChallenge'
  | 'openOwnerSession'
  | 'closeOwnerSession'
  | 'proposals'
  | 'proposal'
  | 'putProposal'
  | 'applyProposal';

export interface OwnerHandlerDeps {
  readonly self: PeerId;
  readonly owners: OwnersAtWork;
  readonly find: (reference: string) => Deployment;
  /** Once the version in force is followed here. */
  readonly accepted: (deployment: Deployment, changed: boolean, keeper: PeerId | null) => Promise<VersionAccepted>;
}

export function createOwnerHandlers(deps: OwnerHandlerDeps): Pick<Handlers<AgentEndpoints>, OwnerEndpoint> {
  const { self, owners, accepted } = deps;
  const { desk, order, sessions } = owners;
  const find = (params: Readonly<Record<string, string>>): Deployment => deps.find(params['deployment'] ?? '');
  return {
    submitVersion: async ({ params, body, signal }) => {
      const deployment = find(params);
      const contract = parseContract(body.contract);
      const version = { contract, signed: parseSignedHead(body.signed) };
      const seal =
        body.seal === undefined ? [] : [{ contract: sealedContract(contract), signed: parseSignedHead(body.seal) }];
      const before = deployment.head;
      const keeper = await order.apply(deployment, [version, ...seal], { offline: body.offline ?? false, signal });
      return accepted(deployment, deployment.head !== before, keeper);
    },
    ownerChallenge: async ({ body, signal }) => {
      if ((body.deployment === undefined) === (body.locator === undefined)) {
        throw new MoatError('REQUEST_INVALID', 'name either a deployment or a locator');
      }
      const made =
        body.locator === undefined
          ? await sessions.challenge(deps.find(body.deployment ?? ''), signal)
          : await sessions.challengeByLocator(body.locator, signal);
      const { id, deployment, keeper, time, expires } = made;
      return { challenge: id, deployment, dialer: self, keeper, time, expires: timeText(expires) };
    },
    openOwnerSession: async ({ body, signal }) => {
      const opened = await sessions.open(body.challenge, parseSignedOwnerProof(body.signed), signal);
      const { contract } = deps.find(opened.deployment);
      return {
        session: opened.id,
        deployment: opened.deployment,
        name: contract.name,
        version: contract.version,
        keeper: opened.connection.peer,
        expires: timeText(opened.expires),
      };
    },
    closeOwnerSession: ({ params }) => {
      sessions.close(params['session'] ?? '');
      return { done: true };
    },
    proposals: async ({ params, signal }) => {
      const { keeper, proposals } = await desk.list(find(params), signal);
      return { keeper, proposals: proposals.map(statusOf) };
    },
    proposal: async ({ params, signal }) => {
      const { report, proposal } = await desk.get(find(params), params['proposal'] ?? '', signal);
      return { ...statusOf(report), proposal: documentOf(proposal) };
    },
    putProposal: async ({ params, body, signal }) => {
      const deployment = find(params);
      const put = await desk.put(deployment, parseProposal(body.proposal), signal);
      const applied = put.applied ? await accepted(deployment, put.changed, put.by) : null;
      return { proposal: statusOf(put.report), changed: put.changed, applied };
    },
    applyProposal: async ({ params, signal }) => {
      const deployment = find(params);
      const before = deployment.head;
      const put: DeskPut = await desk.apply(deployment, params['proposal'] ?? '', signal);
      return accepted(deployment, deployment.head !== before, put.by);
    },
  };
}

function statusOf({ receivedAt, ...report }: ProposalReport): ProposalStatus {
  return { ...report, receivedAt: timeText(receivedAt) };
}
