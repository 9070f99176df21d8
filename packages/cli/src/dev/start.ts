/**
 * Everything of `moat dev`, in the order in which it comes up: processes, contract, join, services,
 * publication, one real request. State from an earlier run is taken up where it is.
 */
import { createAgentClient, type AgentClient } from '@moat/admin-api';
import { deploymentIdOf, type GatewayPin } from '@moat/contract';
import { MoatError, sleep, systemClock, type DeploymentId } from '@moat/core';
import type { Context } from '../context.ts';
import { createTokens } from '../deployment/create-token.ts';
import { nextVersion } from '../deployment/next-version.ts';
import { lookAtDeployment, type SeenDeployment } from '../deployment/select.ts';
import { submitVersion } from '../deployment/submit.ts';
import { httpsGet } from '../process/https.ts';
import { DEV_DOMAIN, writeGatewayFile } from './gateway-file.ts';
import { DB_MEMBER, placeGuestbook, readGuestbookFile, targetOf, WEB_MEMBER } from './guestbook.ts';
import { loadOrCreateIdentity, type DevIdentity } from './identity.ts';
import type { DevLayout } from './layout.ts';
import type { Ports } from './ports.ts';
import { agentProgram, databaseProgram, gatewayProgram, webProgram } from './programs.ts';
import type { Supervised, Supervisor } from './supervisor.ts';

const STEP_TIMEOUT_MS = 30_000;
const POLL_MS = 20;
const INVITE_LIFETIME_MS = 600_000;

export interface DevDeps {
  readonly context: Context;
  readonly supervisor: Supervisor;
  /** Called as each part stands. */
  readonly onStep: (name: string, message: string, tookMs: number) => void;
}

export interface DevOptions {
  readonly layout: DevLayout;
  readonly ports: Ports;
  readonly example: string;
}

/** What runs, and how it is reached. */
export interface RunningGuestbook {
  readonly deployment: DeploymentId;
  readonly network: string;
  readonly version: number;
  readonly url: string;
  readonly caFile: string;
  readonly web: AgentClient;
  readonly db: AgentClient;
  /** Time the join took; null when the machine had its place already. */
  readonly joinedInMs: number | null;
}

/** @throws `DEV_PROCESS_ENDED`, `NOT_READY_IN_TIME` and the codes of each step */
export async function startGuestbook(deps: DevDeps, options: DevOptions): Promise<RunningGuestbook> {
  const { context, supervisor, onStep } = deps;
  const { layout, ports, example } = options;
  const { io } = context;
  const identity = await loadOrCreateIdentity(layout);
  const deployment = deploymentIdOf(identity.genesis);
  const network = readGuestbookFile(example).name;
  writeGatewayFile(layout, ports, deployment);

  const began = io.now();
  const gatewayProcess = supervisor.start(gatewayProgram(io, layout));
  const webProcess = supervisor.start(agentProgram(io, layout, 'web', ports));
  const dbProcess = supervisor.start(agentProgram(io, layout, 'db', ports));
  const databaseProcess = supervisor.start(databaseProgram(io, layout, example, ports));
  const web = createAgentClient({ socketPath: layout.web.agentSocket });
  const db = createAgentClient({ socketPath: layout.db.agentSocket });

  const ready = await within(deps, 'the gateway', readyLine(gatewayProcess, deps, 'gateway-ready'));
  const gateway: GatewayPin = {
    domain: DEV_DOMAIN,
    peers: ready.peers,
    ...(ready.box === undefined ? {} : { box: ready.box }),
  };
  onStep(
    'gateway',
    `https on port ${ready.httpsPort} for *.${DEV_DOMAIN}, with a certificate authority of this machine`,
    io.now() - began,
  );

  const agreed = io.now();
  await within(deps, 'the first node', readyLine(webProcess, deps, 'ready'));
  const onWeb: Context = { ...context, agent: web, paths: layout.web };
  const current = await agree(onWeb, deps, options, identity, gateway);
  onStep(
    WEB_MEMBER,
    `a node; holds contract ${current.contract.name} version ${current.contract.version}, signed by its owner`,
    io.now() - agreed,
  );

  await within(deps, 'the second node', readyLine(dbProcess, deps, 'ready'));
  const joining = io.now();
  const joined = await joinDatabase(onWeb, identity, current, db);
  const joinedInMs = joined ? io.now() - joining : null;
  onStep(
    DB_MEMBER,
    joined ? 'a node; joined by an invite' : 'a node; has its place since an earlier run',
    io.now() - joining,
  );

  const services = io.now();
  await expose(web, deployment, targetOf('web', ports), true);
  await expose(db, deployment, targetOf('db', ports), false);
  await within(deps, 'the database', listening(databaseProcess, deps));
  onStep('db', `the database, at ${targetOf('db', ports)} beside ${DB_MEMBER}`, io.now() - services);
  const webStarted = io.now();
  const website = supervisor.start(webProgram(io, layout, example, network, ports));
  await within(deps, 'the web page', listening(website, deps));
  onStep(
    'web',
    `the page, at ${targetOf('web', ports)} beside ${WEB_MEMBER}; knows the database as db.${network}.internal`,
    io.now() - webStarted,
  );

  const publishing = io.now();
  const url = await within(deps, 'the publication', livePublication(deps, web, deployment));
  await within(deps, 'the first request', firstAnswer(deps, url, ready.caFile));
  onStep('public', `${url} answers`, io.now() - publishing);
  const { version } = await web.deployment(deployment);
  return { deployment, network, version, url, caFile: ready.caFile, web, db, joinedInMs };
}

/** Creates the deployment, or applies what changed since the last run (ports, the example's file). */
async function agree(
  onWeb: Context,
  deps: DevDeps,
  { ports, example }: DevOptions,
  { owner, genesis }: DevIdentity,
  gateway: GatewayPin,
): Promise<SeenDeployment> {
  const id = deploymentIdOf(genesis);
  const { peerId } = await onWeb.agent.status();
  const file = placeGuestbook(readGuestbookFile(example), { webPeer: peerId, gateway, ports });
  const held = (await onWeb.agent.deployments()).some((one) => one.id === id);
  const current = held ? await lookAtDeployment(onWeb, id) : null;
  const next = nextVersion(onWeb, file, current, owner.key, { genesis });
  if (current === null || next.contract !== current.contract) {
    await within(deps, 'the contract', submitVersion(onWeb, [owner], next.predecessor, next.contract));
  }
  return lookAtDeployment(onWeb, id);
}

/** Invites the second machine and has it join; false when it holds its place. */
async function joinDatabase(
  onWeb: Context,
  { owner }: DevIdentity,
  current: SeenDeployment,
  db: AgentClient,
): Promise<boolean> {
  const { peerId } = await db.status();
  const place = current.detail.places.find(({ name }) => name === DB_MEMBER);
  if (place?.peer === peerId) return false;
  const { tokens } = await createTokens(onWeb, owner, current, [DB_MEMBER], INVITE_LIFETIME_MS);
  await db.join({ token: tokens[0]?.token ?? '', waitMs: STEP_TIMEOUT_MS }, { signal: onWeb.io.signal });
  return true;
}

/** Exactly this target: an earlier run may have used another port. */
async function expose(agent: AgentClient, deployment: DeploymentId, target: string, open: boolean): Promise<void> {
  for (const old of await agent.exposed()) {
    if (old.deployment === deployment && old.target !== target)
      await agent.unexpose({ deployment, target: old.target });
  }
  await agent.expose({ deployment, target, public: open });
}

async function livePublication({ context }: DevDeps, web: AgentClient, deployment: DeploymentId): Promise<string> {
  for (;;) {
    const publication = (await web.publications()).find((one) => one.deployment === deployment);
    if (publication?.state === 'refused') {
      throw new MoatError(publication.error?.code ?? 'INTERNAL', publication.error?.message ?? 'the gateway refused');
    }
    if (publication?.state === 'live' && publication.url !== null) return publication.url;
    await sleep(systemClock, POLL_MS, context.io.signal);
  }
}

/** Until the page answers 200: then the database was reached too. */
async function firstAnswer({ context }: DevDeps, url: string, caFile: string): Promise<void> {
  const { signal } = context.io;
  for (;;) {
    const answer = await httpsGet(url, { signal, caFile }).catch((error: unknown) => {
      if (signal.aborted) throw error;
      return undefined;
    });
    if (answer?.status === 200) return;
    await sleep(systemClock, POLL_MS, signal);
  }
}

interface Ready {
  readonly peers: readonly string[];
  readonly box?: string;
  readonly httpsPort: number;
  readonly caFile: string;
}

/** `{"kind":…,"data":…}` on the process' stdout. */
function readyLine(child: Supervised, { context }: DevDeps, kind: string): Promise<Ready> {
  return child.line((line) => {
    if (!line.startsWith(`{"kind":"${kind}"`)) return undefined;
    return (JSON.parse(line) as { readonly data: Ready }).data;
  }, context.io.signal);
}

function listening(child: Supervised, { context }: DevDeps): Promise<true> {
  return child.line((line) => (line.startsWith('{"listening"') ? true : undefined), context.io.signal);
}

/** Ends early when a process ends by itself, and late with a coded error. */
async function within<T>({ context, supervisor }: DevDeps, what: string, work: Promise<T>): Promise<T> {
  const timer = Promise.withResolvers<never>();
  const timeout = setTimeout(() => {
    const seconds = STEP_TIMEOUT_MS / 1000;
    timer.reject(
      new MoatError('NOT_READY_IN_TIME', `${what} did not come up within ${seconds} s`, { next: ['moat dev --fresh'] }),
    );
  }, STEP_TIMEOUT_MS);
  try {
    return await context.progress.during(
      `starting ${what}`,
      Promise.race([work, timer.promise, supervisor.unexpectedEnd]),
    );
  } finally {
    clearTimeout(timeout);
  }
}
