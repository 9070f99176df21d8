/** What carries the traffic of a gateway: its own process, or workers. The rest of the gateway does not tell them apart. */
import type { Clock, Links, Logger, PeerId, Service } from '@moat/core';
import type { GatewayWorker } from '@moat/admin-api';
import { createLinkDispatcher, createLinks, type LinkDispatcher, type LinkService } from '@moat/link';
import type { Overlay } from '@moat/overlay';
import type { ChallengeBoard, ChallengeChange } from '../certificates/challenge-board.ts';
import { SecureContexts, type CertificateSource } from '../certificates/contexts.ts';
import type { EdgeSettings, GatewayConfig } from '../config.ts';
import { refusal } from '../errors.ts';
import { PublicEdge } from '../request/public-edge.ts';
import { newRequestId } from '../request/request-id.ts';
import type { EdgeFigures } from '../metrics/figures.ts';
import type { GatewayIdentity } from '../request/self.ts';
import type { RouteChange, Routes } from '../routes/snapshot.ts';
import { Answered } from '../sign-in/answered.ts';
import { WorkerFleet } from './control.ts';
import { farewellMs } from './farewell.ts';

/** What clients meet. */
export interface PublicSide extends Service {
  readonly httpsPort: number;
  readonly httpPort: number | undefined;
  readonly counts: { readonly connections: number; readonly running: number; readonly total: number };
  /** What was counted since the start. */
  readonly figures: EdgeFigures;
  /** Takes nothing new; resolves when nothing runs, at the latest after `ms`. */
  drain(ms: number): Promise<void>;
}

export interface Traffic {
  readonly edge: PublicSide;
  readonly links: LinkService;
  /** Sends tickets to every member that comes, from now on; returns the way to stop. */
  keepLinked(): () => void;
  /** What the gateway says of itself is another thing now. */
  identityChanged(): void;
  /** What gateway.yaml says of limits and pages is another thing now. */
  reconfigure(settings: EdgeSettings): void;
  /** Has the same routes from this turn on where that is this process; workers are told in order. */
  changed(change: RouteChange): void;
  /** Other proofs are shown to certificate authorities; where that is this process, they are already. */
  challenged(change: ChallengeChange): void;
  /** There are other certificates for these names. */
  renewed(names: readonly string[]): void;
  /** Ends what runs under hosts that were withdrawn. */
  withdraw(hosts: readonly string[]): void;
  /** Resolves when whatever was changed is in force everywhere. */
  settled(): Promise<void>;
  workers(): readonly GatewayWorker[];
  /** How often the place of a worker was filled anew. */
  restarts(): number;
  /** Gets the workers' figures of now, where they come within a second. */
  refresh(): Promise<void>;
  /** @throws `NO_WORKERS`, `RESTART_RUNNING`, `WORKER_GONE` */
  restart(): Promise<void>;
  /** Takes nothing new, and tells members so; resolves when nothing runs, at the latest after `ms`. */
  drain(ms: number): Promise<void>;
}

export interface TrafficDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly overlay: Overlay;
  readonly routes: Routes;
  readonly certificates: CertificateSource;
  /** Proofs that are shown now. */
  readonly challenges: ChallengeBoard;
  /** What marks of clients are made with. */
  readonly secret: Uint8Array;
  /** True for whom a link is good for something. */
  readonly mayLink: (peer: PeerId) => boolean;
  identity(): GatewayIdentity;
  onServed(host: string): void;
  /** A worker ended that was not told to. */
  onWorkerDied(reason: string): void;
}

/** This process does everything. */
export function createOwnTraffic(deps: TrafficDeps, config: GatewayConfig): Traffic {
  const { clock, logger, overlay, routes, certificates, mayLink } = deps;
  const { domain, limits, abuse, listen, anchor, publicPort, http2, privateIssuers } = config;
  const contexts = new SecureContexts({
    clock,
    source: certificates,
    knows: (host) => host === domain || routes.current.endsTls(host),
    onMissing: (host) => logger.warn({ component: 'gateway.tls', host }, 'no certificate covers a name served here'),
  });
  const links: LinkService = createLinks(
    { logger, clock, control: overlay, accept: (stream) => edge.accept(stream) },
    { role: 'gateway', mayLink, listen: listen.link, splice: anchor },
  );
  const edge: PublicEdge = new PublicEdge(
    {
      clock,
      logger,
      links,
      contexts,
      challenges: deps.challenges,
      secret: deps.secret,
      answered: new Answered(clock),
      newId: newRequestId,
      snapshot: () => routes.current,
      identity: () => deps.identity(),
      onServed: (host) => deps.onServed(host),
    },
    { domain, limits, abuse, https: listen.https, http: listen.http, publicPort, http2, privateIssuers },
  );
  return {
    edge,
    links,
    keepLinked: () => linkToMembers(links, deps),
    identityChanged: () => undefined,
    reconfigure: (settings) => edge.reconfigure(settings),
    changed: () => undefined,
    challenged: () => undefined,
    renewed: (names) => contexts.forget(names),
    withdraw: (hosts) => edge.withdraw(hosts),
    settled: () => Promise.resolve(),
    workers: () => [],
    restarts: () => 0,
    refresh: () => Promise.resolve(),
    restart: () => Promise.reject(refusal('NO_WORKERS', 'this gateway is one process; set `workers` in gateway.yaml')),
    drain: (ms) => drainBoth(clock, { edge, links }, ms),
  };
}

export interface FleetTrafficOptions {
  readonly count: number;
  /** Level of the workers' logs. */
  readonly level: string;
}

/** Workers carry the traffic; this process decides, and hands links out. */
export function createFleetTraffic(deps: TrafficDeps, config: GatewayConfig, options: FleetTrafficOptions): Traffic {
  const { clock, logger, overlay, routes, certificates, mayLink } = deps;
  const { domain, limits, abuse, accessLog, listen, anchor, publicPort, http2, privateIssuers, stateDirectory } =
    config;
  const answered = new Answered(clock);
  const fleet: WorkerFleet = new WorkerFleet(
    {
      clock,
      logger,
      answer: async (question) => {
        if (question.what === 'answered') return answered.take(question.nonce, question.untilMs, question.scope);
        if (question.what === 'certificate') return certificates.certificateFor(question.host);
        return links.want(question.peer);
      },
      get links(): LinkDispatcher {
        return links;
      },
      identity: () => deps.identity(),
      challenges: () => deps.challenges.whole(),
      routes: () => routes.whole(),
      onServed: (host) => deps.onServed(host),
      onDied: (reason) => deps.onWorkerDied(reason),
    },
    {
      ...options,
      self: overlay.self,
      secret: deps.secret,
      epoch: answered.epoch,
      domain,
      settings: { limits, abuse, accessLog },
      https: listen.https,
      http: listen.http,
      publicPort,
      http2,
      privateIssuers,
      stateDirectory,
    },
  );
  const links: LinkDispatcher = createLinkDispatcher(
    { logger, clock, control: overlay, workers: fleet },
    // Twice, as each is rolled over beside the one that leaves.
    { mayLink, listen: listen.link, splice: anchor, workers: options.count * 2 },
  );
  return {
    edge: fleet,
    links,
    // The dispatcher does it by itself.
    keepLinked: () => () => undefined,
    identityChanged: () => fleet.tellIdentity(),
    reconfigure: (settings) => fleet.reconfigure(settings),
    changed: (change) => fleet.apply(change),
    challenged: (change) => fleet.tellChallenges(change),
    renewed: (names) => fleet.tellCertificates(names),
    // A worker ends them itself when it hears of the change.
    withdraw: () => undefined,
    settled: () => fleet.settled(),
    restarts: () => fleet.restarts,
    workers: () => reportWorkers(fleet, links, clock.now()),
    refresh: () => fleet.refresh(),
    restart: () => fleet.restart(),
    drain: (ms) => drainBoth(clock, { edge: fleet, links }, ms),
  };
}

async function drainBoth(clock: Clock, { edge, links }: Pick<Traffic, 'edge' | 'links'>, ms: number): Promise<void> {
  const telling = clock.after(farewellMs(ms), () => links.close());
  await edge.drain(ms);
  telling.cancel();
  links.close();
}

function reportWorkers(fleet: WorkerFleet, links: LinkDispatcher, nowMs: number): GatewayWorker[] {
  const all = links.workerLinks();
  return fleet.list().map(({ worker, restarts }) => {
    const own = all.filter((link) => link.worker === worker.number);
    const { connections, running, total, rssBytes } = worker.counts;
    return {
      pid: worker.pid,
      state: worker.state === 'serving' || worker.state === 'leaving' ? worker.state : 'starting',
      links: own.length,
      pipedLinks: own.filter(({ piped }) => piped).length,
      connections,
      requestsInFlight: running,
      requestsTotal: total,
      restarts,
      uptimeMs: nowMs - worker.startedMs,
      rssBytes,
    };
  });
}

/** Time for a newly admitted member to answer our tickets. */
const LINK_MS = 15_000;

/** Whenever an upstream's connection is admitted it gets tickets, so that its link stands before the first request. */
function linkToMembers(links: Links, { overlay, logger, mayLink }: TrafficDeps): () => void {
  const stopping = new AbortController();
  const unsubscribe = overlay.onAdmitted(({ peer }) => {
    if (!mayLink(peer) || links.get(peer) !== undefined) return;
    links.connect(peer, AbortSignal.any([stopping.signal, AbortSignal.timeout(LINK_MS)])).catch((err: unknown) => {
      logger.debug({ component: 'gateway.links', peer, err }, 'no link to a member yet');
    });
  });
  return () => {
    unsubscribe();
    stopping.abort();
  };
}
