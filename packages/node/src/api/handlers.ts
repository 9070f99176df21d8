/** What each endpoint of the local API does. */
import { MoatError, isDeploymentId, type PeerId, type Signer } from '@moat/core';
import {
  createSignIn,
  isHostName,
  parseContract,
  parseGenesis,
  parseSignedEntry,
  parseSignedHead,
} from '@moat/contract';
import type { Exposure } from '@moat/network';
import type { AgentEndpoints, Handlers, NodeStatus, RedeemRequest, Rotation, VersionAccepted } from '@moat/admin-api';
import type { MemberCertificates } from '../certificates/member-certificates.ts';
import type { Consent } from '../consent.ts';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { DirectoryDesk } from '../directory/directory-desk.ts';
import type { Doors } from '../doors.ts';
import type { EventFeed } from '../event-feed.ts';
import { explain } from '../explain/explain.ts';
import type { ExplainDeps } from '../explain/finding.ts';
import type { Forwards } from '../forwards.ts';
import type { JoinResult } from '../join.ts';
import type { OwnersAtWork } from '../owners/create-owners.ts';
import type { Publisher } from '../publications/publisher.ts';
import type { Reconciler } from '../reconcile.ts';
import type { DeploymentStore } from '../store/deployment-store.ts';
import type { WireguardAtWork } from '../wireguard/create-wireguard.ts';
import { createOwnerHandlers } from './owner-handlers.ts';
import { ping, type ProbeDeps } from './probe.ts';
import { lookForDirect, wireguardHandlers } from './wireguard-handlers.ts';
import { branchesOf, detailOf, documentOf, heldOf, hostsOf, summaryOf, timeText, type ReportDeps } from './report.ts';

const PING_MS = 10_000;
/** Milliseconds for handshakes with members that were never met. */
const HOSTS_MS = 1_500;

export interface HandlerDeps {
  readonly deployments: Deployments;
  readonly owners: OwnersAtWork;
  /** This machine's key. */
  readonly signer: Signer;
  readonly reconciler: Reconciler;
  readonly publisher: Publisher;
  readonly consent: Consent;
  readonly forwards: Forwards;
  readonly feed: EventFeed;
  readonly store: DeploymentStore;
  readonly report: ReportDeps;
  readonly probe: ProbeDeps;
  readonly explain: ExplainDeps;
  readonly status: () => NodeStatus;
  readonly doors: Doors;
  readonly certificates: Pick<MemberCertificates, 'report'>;
  readonly wireguard: WireguardAtWork;
  readonly join: (token: string, waitMs: number, signal: AbortSignal) => Promise<JoinResult>;
  readonly redeem: (request: RedeemRequest, signal: AbortSignal) => Promise<void>;
  readonly rotateKey: () => Promise<Rotation>;
  readonly directory: Pick<DirectoryDesk, 'announce' | 'find'>;
  /** Begins an orderly stop. */
  readonly stop: () => void;
}

/** Handlers for the agent's table of endpoints. */
export function createHandlers(deps: HandlerDeps): Handlers<AgentEndpoints> {
  const { deployments, reconciler, publisher, consent, forwards, feed, store } = deps;
  const find = (params: Readonly<Record<string, string>>): Deployment => deployments.find(params['deployment'] ?? '');
  const accepted = async (
    deployment: Deployment,
    changed: boolean,
    by: PeerId | null = null,
  ): Promise<VersionAccepted> => {
    await reconciler.settled(deployment.id);
    const { id, contract, head } = deployment;
    return { deployment: id, name: contract.name, version: contract.version, head, changed, keeper: by };
  };
  return {
    status: () => deps.status(),
    deployments: () => ({ deployments: deployments.list().map((each) => summaryOf(each, deps.report.now())) }),
    deployment: async ({ params }) => {
      const { id } = find(params);
      await Promise.all([publisher.lookAtCertificates(), deps.report.overlay.receipts.ask(id)]);
      return detailOf(deps.report, find(params));
    },
    held: ({ params }) => heldOf(find(params), deps.report.now()),
    version: ({ params }) => {
      const { id } = find(params);
      const number = /^\d{1,9}$/.test(params['version'] ?? '') ? Number(params['version']) : -1;
      const stored = store.version(id, number);
      if (stored === undefined)
        throw new MoatError('VERSION_UNKNOWN', `version ${params['version']} is not stored here`);
      const contract = documentOf(parseContract(stored.contract));
      return { version: number, contract, signed: documentOf(stored.signed), acceptedAt: timeText(stored.acceptedAt) };
    },
    branches: ({ params }) => ({ branches: branchesOf(find(params)) }),
    createDeployment: async ({ body }) => {
      const contract = parseContract(body.contract);
      const changed = deployments.create(parseGenesis(body.genesis), contract, parseSignedHead(body.signed));
      return accepted(deployments.find(contract.deployment), changed);
    },
    ...createOwnerHandlers({
      self: deps.report.self,
      owners: deps.owners,
      find: (reference) => deployments.find(reference),
      accepted,
    }),
    forget: async ({ params }) => {
      const deployment = find(params);
      // The disk first: what cannot be left stays as it is.
      deployments.forget(deployment);
      consent.forget(deployment.id);
      await forwards.forget(deployment.id);
      await reconciler.settled(deployment.id);
      return { done: true };
    },
    join: async ({ body, signal }) => {
      const { deployment, member, keeper } = await deps.join(body.token, body.waitMs ?? 0, signal);
      for (const { target, public: isPublic } of body.expose ?? []) {
        consent.add({ deployment: deployment.id, target, public: isPublic ?? false });
      }
      await reconciler.settled(deployment.id);
      const { name, version } = deployment.contract;
      return { deployment: deployment.id, name, member, version, keeper };
    },
    exposed: () => ({ exposed: consent.list() }),
    expose: ({ body }) =>
      consent.add({
        deployment: idOf(deployments, body.deployment),
        target: body.target,
        public: body.public ?? false,
      }),
    holdExposed: ({ query, signal }) => holdExposed(consent, exposureOf(deployments, query), signal),
    unexpose: ({ body }) => {
      consent.remove(idOf(deployments, body.deployment), body.target);
      return { done: true };
    },
    forwards: () => ({ forwards: forwards.list() }),
    addForward: async ({ body }) => {
      const deployment = deployments.find(body.deployment);
      const service = deployment.view.services.get(body.service);
      if (service === undefined) {
        throw new MoatError(
          'SERVICE_UNKNOWN',
          `${deployment.contract.name} has no service ${body.service.slice(0, 63)}`,
        );
      }
      if (service.protocol === 'udp') {
        throw new MoatError('NEEDS_WIREGUARD', `${service.name} takes datagrams (UDP), and a forward carries streams`, {
          next: ['moat wireguard up'],
        });
      }
      const forward = await forwards.add(deployment.id, body.service, body.local, body.keep ?? false);
      // A socket of ours is no target any more, by no way.
      deps.wireguard.interfaces.review();
      return forward;
    },
    removeForward: async ({ params }) => {
      await forwards.remove(params['forward'] ?? '');
      return { done: true };
    },
    explain: ({ params, query, signal }) =>
      explain(deps.explain, find(params), query['from'] ?? '', query['to'] ?? '', signal),
    ping: async ({ params, body, signal }) => {
      const deployment = find(params);
      if (body.direct === true) await lookForDirect(deps.wireguard.interfaces, deployment, body.target, signal);
      return ping(deps.probe, deployment, body.target, pingDeadline(body.timeoutMs ?? PING_MS, signal));
    },
    certificates: () => ({ certificates: deps.certificates.report() }),
    publications: async () => {
      await publisher.lookAtCertificates();
      return { publications: publisher.status() };
    },
    redeem: async ({ body, signal }) => {
      await deps.redeem(body, signal);
      const known = deployments.list().find(({ id }) => id === body.deployment);
      // What was refused without the code is shown again at once.
      if (known !== undefined) publisher.update(known);
      return { done: true };
    },
    hosts: async ({ params }) => {
      const deployment = find(params);
      // Once for the whole run of a program: it is worth a moment to know who is met.
      const services = deployment.view.contract.services.map(({ name }) => name);
      await deps.wireguard.interfaces.meet(deployment.id, services, HOSTS_MS);
      return hostsOf(deps.report, deployment, deps.doors);
    },
    // Nothing but a sign-in is ever signed for a caller, and that is good under the host alone.
    signIn: ({ body }) => {
      if (!isHostName(body.host)) throw new MoatError('REQUEST_INVALID', 'host is not a public name');
      return { signed: documentOf(createSignIn(body, deps.signer)) };
    },
    events: ({ signal }) =>
      feed.follow(signal, [
        { kind: 'agent', state: 'started' },
        ...publisher.status().map((publication) => ({ kind: 'publication' as const, publication })),
      ]),
    rotateKey: () => deps.rotateKey(),
    findInDirectory: ({ body, signal }) => deps.directory.find(body, signal),
    announce: ({ body, signal }) => deps.directory.announce(parseSignedEntry(body.signed), signal),
    ...wireguardHandlers(deps.wireguard, find),
    stop: () => {
      deps.stop();
      return { done: true };
    },
  };
}

function exposureOf(
  deployments: Deployments,
  { deployment = '', target = '', public: open }: Readonly<Record<string, string>>,
): Exposure {
  return { deployment: idOf(deployments, deployment), target, public: open === 'true' };
}

/**
 * Begins before the first item is asked for, so that a refusal is an answer of its own. No generator: whoever goes away
 * while nothing is to be said must end it.
 */
function holdExposed(consent: Consent, exposure: Exposure, signal: AbortSignal): AsyncIterable<Exposure> {
  const { line, release } = consent.hold(exposure);
  const gone = Promise.withResolvers<IteratorResult<Exposure, undefined>>();
  const end = (): Promise<IteratorResult<Exposure, undefined>> => {
    release();
    gone.resolve({ done: true, value: undefined });
    return gone.promise;
  };
  if (signal.aborted) void end();
  else signal.addEventListener('abort', () => void end(), { once: true });
  let isTold = false;
  const next = (): Promise<IteratorResult<Exposure, undefined>> => {
    if (isTold) return gone.promise;
    isTold = true;
    return Promise.resolve({ done: false, value: line });
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: end }) };
}

/** Consent may come before the join: an id need not be held here yet. */
function idOf(deployments: Deployments, reference: string): string {
  if (isDeploymentId(reference)) return reference;
  return deployments.find(reference).id;
}

function pingDeadline(timeoutMs: number, signal: AbortSignal): AbortSignal {
  const error = new MoatError('PING_TIMEOUT', `no answer within ${timeoutMs} ms`, { retryable: true });
  return deadline(timeoutMs, error, signal);
}
