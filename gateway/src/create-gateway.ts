/** The one place where a gateway's parts meet. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Logger, PeerId, Service } from '@moat/core';
import {
  createMemoryAddressBook,
  createOverlay,
  noDeployments,
  publicationReason,
  type PublishAnswer,
} from '@moat/overlay';
import type { AccessLog } from './access-log.ts';
import { addressesOf, identityOf, type GatewayAddresses } from './addresses.ts';
import { AdminApi, refuseSecond } from './admin/api.ts';
import { operatorsDesk } from './admin/desk.ts';
import type { Draining, GatewayFacts } from './admin/report.ts';
import { loadOrCreateBoxKey } from './box-key.ts';
import { AuditLog } from './audit/audit-log.ts';
import { loadOrCreateAuditKey } from './audit/audit-key.ts';
import { ChallengeBoard } from './certificates/challenge-board.ts';
import { ReplaceableCertificates } from './certificates/replaceable.ts';
import type { GatewayConfig, GatewayLimits } from './config.ts';
import { createGatewayDirectory, openBook } from './directory.ts';
import { createDnsSolver } from './dns/dns-solver.ts';
import { GatewayDns } from './dns/gateway-dns.ts';
import { isInRanges, portOfKey } from './names/port.ts';
import { keepProofs } from './names/keep-proofs.ts';
import { NameGrants } from './names/name-grants.ts';
import { ProofDesk } from './names/proof-desk.ts';
import { GatewayKeys } from './gateway-keys.ts';
import { AnswerCounter } from './metrics/answers.ts';
import { OperationsListener } from './metrics/endpoint.ts';
import { createOperations } from './metrics/operations.ts';
import { NameRegistry } from './names/registry.ts';
import { reservedLabels } from './names/reserved.ts';
import { createTextLookup } from './names/text-lookup.ts';
import { CertificateStates } from './publications/certificate-states.ts';
import { EdgeRules } from './publications/edge-rules.ts';
import { Intake } from './publications/intake.ts';
import { Ledger } from './publications/ledger.ts';
import { PublisherBook } from './publications/publisher-book.ts';
import { reapply } from './publications/reapply.ts';
import { SuspensionBook } from './publications/suspensions.ts';
import { Reloader, type ReloadResult } from './reload.ts';
import { Routes } from './routes/snapshot.ts';
import { openSqliteStore } from './store/sqlite.ts';
import { canShareListeners, countWorkers } from './workers/shares.ts';
import { createFleetTraffic, createOwnTraffic, type Traffic, type TrafficDeps } from './workers/traffic.ts';

export interface GatewayDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Level of the logs that workers write themselves. @defaultValue info */
  readonly logLevel?: string;
  /** Reads gateway.yaml anew. @throws `GATEWAY_CONFIG_INVALID` @defaultValue nothing changes */
  readConfig?(): Promise<GatewayConfig>;
  /** Where lines of requests go, to be opened anew with the configuration. */
  readonly access?: Pick<AccessLog, 'reopen'> | undefined;
  /** Asked to end the process by the admin API, with this many milliseconds for what runs; undefined = as ever. */
  onStopAsked(drainMs: number | undefined): void;
  /** Asked to stop and start again: what was loaded at start has changed. */
  onRestartAsked(): void;
}

export interface Gateway extends Service {
  /** Reads gateway.yaml anew. @throws `GATEWAY_CONFIG_INVALID`; everything stays as it was then */
  reload(): Promise<ReloadResult>;
  readonly addresses: GatewayAddresses;
  /**
   * Takes no new connection, request or publication, sends clients and members to other gateways as far as it can, and
   * waits for what runs, at most `ms` milliseconds; called again, the shorter time counts.
   */
  drain(ms: number): Promise<void>;
}

/** Overlay connections: members of all deployments and those that use this gateway as an anchor. */
const MAX_MEMBERS = 8_000;
const SWEEP_MS = 3_600_000;
const VERSION = '0.1.0';
/** To members, who serve their names at other gateways meanwhile. */
const GOING_DOWN: PublishAnswer = {
  ok: false,
  code: 'GATEWAY_STOPPING',
  message: 'this gateway is going down, and takes nothing new',
};

/** A gateway as configured; nothing is opened before `start`. */
export function createGateway(deps: GatewayDeps, config: GatewayConfig): Gateway {
  return new WiredGateway(deps, config);
}

class WiredGateway implements Gateway {
  readonly #deps: GatewayDeps;
  readonly #config: GatewayConfig;
  #opened: AsyncDisposableStack | undefined;
  #traffic: Traffic | undefined;
  /** Tells everybody but the traffic's side that this gateway goes. */
  #leave: (() => void) | undefined;
  #draining: Draining | undefined;
  #reloader: Reloader | undefined;
  #addresses: GatewayAddresses | undefined;

  constructor(deps: GatewayDeps, config: GatewayConfig) {
    this.#deps = deps;
    this.#config = config;
  }

  get addresses(): GatewayAddresses {
    if (!this.#addresses) throw new Error('the gateway is not started');
    return this.#addresses;
  }

  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    await using opening = new AsyncDisposableStack();
    const { clock, logger } = this.#deps;
    const config = this.#config;
    const { domain } = config;
    const startedMs = clock.now();

    // From here on the machine is touched: files, then sockets.
    await refuseSecond(config.adminSocket);
    await mkdir(config.stateDirectory, { recursive: true, mode: 0o700 });
    const keys = await GatewayKeys.load({ directory: config.stateDirectory, domain });
    const { key } = keys;
    const box = await loadOrCreateBoxKey(join(config.stateDirectory, 'box.key'));
    const auditKey = await loadOrCreateAuditKey(join(config.stateDirectory, 'audit.key'));
    const store = openSqliteStore(config.storePath, { audit: { key: auditKey, now: () => clock.now() } });
    opening.defer(() => store.close());
    const auditLog = new AuditLog({ clock, logger, store }, config.audit);
    auditLog.record({ action: 'gateway.started', actor: 'gateway', details: { version: VERSION, peer: key.peerId } });
    const reloader: Reloader = new Reloader(
      {
        clock,
        logger,
        audit: auditLog,
        read: async () => (await this.#deps.readConfig?.()) ?? reloader.config,
        apply: async (next) => {
          await dns.reconfigure(next.dns);
          try {
            await certificates.reconfigure(next);
          } catch (error) {
            await dns.reconfigure(reloader.config.dns);
            throw error;
          }
          registry.reserve(reservedLabels(next));
          this.#deps.access?.reopen(next.accessLog);
          auditLog.reconfigure(next.audit);
          traffic.reconfigure(next);
          // With a name server of its own it may have a wildcard now.
          certificates.namesChanged();
        },
        changed: (keys) => reapply({ intake, ledger, publishers, registry }, keys),
      },
      config,
    );
    this.#reloader = reloader;
    const grants = new NameGrants({ clock, store });
    const proofs = new ProofDesk({ clock, logger, lookup: createTextLookup(() => reloader.config.dns.resolvers) });
    const registry = new NameRegistry(
      {
        clock,
        isLive: (host) => intake.isLive(host),
        isGranted: (host, deployment) => grants.isGranted(host, deployment),
        heirOf: (host, holder) => ledger.heirOf(holder, host),
        prove: (host, deployment) => proofs.judge(host, deployment),
      },
      {
        domain,
        get maxNames(): number {
          return reloader.config.limits.names;
        },
        reserved: reservedLabels(config),
        mayOpen: (port) => isInRanges(port, reloader.config.tcpPorts),
      },
      store.names(),
    );
    const edgeRules = new EdgeRules({ boxKey: box.privateKey });
    const ledger = new Ledger({ clock, edgeRules }, { domain }, store.deployments());
    const publishers = new PublisherBook({ clock, store }, reloader);
    const suspensions = new SuspensionBook({ clock, store });
    const routes: Routes = new Routes({
      now: () => clock.now(),
      random: Math.random,
      changed: (change) => {
        traffic.changed(change);
        certificates.namesChanged();
      },
    });
    const dns = new GatewayDns({ clock, logger, registry, ledger, issuers: () => certificates.issuers() }, config);
    const board = new ChallengeBoard();
    const certificates: ReplaceableCertificates = await ReplaceableCertificates.open(
      {
        clock,
        logger,
        store,
        dns: createDnsSolver(dns.challenges, (host) => dns.serves(host)),
        hosts: () => routes.list().flatMap(({ host }) => (routes.endsTls(host) ? [host] : [])),
        changed: (names) => traffic.renewed(names),
        show: async (change) => {
          board.apply(change);
          traffic.challenged(change);
          await traffic.settled();
        },
      },
      config,
    );

    const book = openBook(config, clock, store.directory);
    const overlay = createOverlay(
      {
        logger,
        clock,
        key,
        deployments: noDeployments,
        addressBook: createMemoryAddressBook(),
        ...(book === undefined ? {} : { directory: book }),
      },
      {
        listen: config.listen.overlay,
        announce: config.announce,
        anchor: config.anchor,
        mdns: false,
        limits: { connections: MAX_MEMBERS },
      },
    );
    const traffic: Traffic = this.#createTraffic({
      clock,
      logger,
      overlay,
      routes,
      certificates,
      challenges: board,
      secret: box.edgeSecret,
      mayLink: (peer) => ledger.isUpstream(peer),
      identity: () => identityOf(config, keys, overlay, box.publicKey),
      onServed: (host) => intake.markServed(host),
      onWorkerDied: (reason) => auditLog.record({ action: 'worker.died', actor: 'gateway', details: { reason } }),
    });
    const { edge, links } = traffic;
    const isConnected = (peer: PeerId): boolean =>
      links.get(peer) !== undefined || overlay.connections(peer).length > 0;

    const urlOf = (host: string): string => {
      const port = config.publicPort ?? edge.httpsPort;
      const route = routes.find(host);
      if (route?.port !== undefined) return `tcp://${portOfKey(host) === undefined ? host : domain}:${route.port}`;
      if (route?.opaque === 'terminated') return `tls://${host}:${port}`;
      return port === 443 ? `https://${host}` : `https://${host}:${port}`;
    };
    const intake = new Intake(
      {
        clock,
        logger,
        store,
        registry,
        ledger,
        publishers,
        suspensions,
        edgeRules,
        proofs,
        routes,
        isConnected,
        onWithdrawn: (hosts) => traffic.withdraw(hosts),
        onDropped: (dropped) => {
          links.recheck();
          for (const { deployment, peer } of dropped) {
            const reason = publicationReason(deployment);
            for (const connection of overlay.connections(peer)) overlay.withdraw(connection, reason);
          }
        },
        // Its links stay, and what runs over them: a member shows what it has on each new connection.
        onNews: (peers) => {
          for (const peer of peers)
            for (const each of overlay.connections(peer)) overlay.close(each, 'news for a publisher');
        },
      },
      {
        gateway: key.peerId,
        get warnsOfStrangers(): boolean {
          return reloader.config.interstitial === 'unverified';
        },
        get limits(): GatewayLimits {
          return reloader.config.limits;
        },
        urlOf,
      },
    );
    const keeper = keepProofs({ clock, logger, desk: proofs, random: Math.random }, { registry, intake });
    const facts: GatewayFacts = {
      get config(): GatewayConfig {
        return reloader.config;
      },
      needsRestart: () => reloader.needsRestart,
      keys,
      startedMs,
      clock,
      authority: certificates.authority,
      overlay,
      links,
      registry,
      ledger,
      publishers,
      suspensions,
      routes,
      intake,
      edge,
      workers: () => traffic.workers(),
      draining: () => this.#draining,
      urlOf,
    };

    /** What was changed is in force at every worker before whoever changed it is told. */
    const done = async <T>(result: T | Promise<T>): Promise<T> => {
      const settled = await result;
      await traffic.settled();
      return settled;
    };

    // Public first: members that dial in at once are told the ports that are in use.
    intake.refreshRoutes();
    await begin(opening, edge, options.signal);
    opening.defer(() => intake.stop());
    const answers = new AnswerCounter();
    const states = new CertificateStates({ clock, ledger, routes, certificates: () => certificates.list() });
    overlay.servePublish(
      async (peer, connection, bundle) => {
        // Also while we go down: what it withdraws is withdrawn.
        const answer = await done(intake.publish(peer, connection, bundle));
        return answers.counted(this.#draining ? GOING_DOWN : answer);
      },
      (peer, connection, redemption) => intake.redeem(peer, connection, redemption),
      (...asked) => states.of(...asked),
    );
    await begin(opening, overlay, options.signal);
    traffic.identityChanged();
    const { signer } = key;
    await begin(opening, createGatewayDirectory({ clock, logger, signer, overlay }, book, config), options.signal);
    await begin(opening, links, options.signal);
    await begin(opening, dns, options.signal);
    await begin(opening, certificates, options.signal);
    opening.defer(traffic.keepLinked());
    opening.defer(every(clock, SWEEP_MS, () => intake.sweep()));
    await begin(opening, keeper, options.signal);
    opening.defer(every(clock, SWEEP_MS, () => auditLog.sweep()));
    const operations = createOperations(facts, {
      logger,
      version: VERSION,
      traffic,
      answers,
      audit: store.audit,
      refresh: () => traffic.refresh(),
      reload: () => reloader.figures,
      certificates: () => certificates.list(),
      ready: () => this.#opened !== undefined && this.#draining === undefined,
    });
    const listener = config.metrics && new OperationsListener({ operations }, config.metrics);
    if (listener) await begin(opening, listener, options.signal);
    const desk = operatorsDesk(facts, {
      logger,
      traffic,
      intake,
      grants,
      suspensions,
      store,
      keys,
      certificates,
      audit: auditLog,
      reloader,
      operations,
      version: VERSION,
      onStopAsked: (ms) => this.#deps.onStopAsked(ms),
      onRestartAsked: () => this.#deps.onRestartAsked(),
    });
    const admin = new AdminApi(desk, { socketPath: config.adminSocket, version: VERSION });
    await begin(opening, admin, options.signal);

    this.#traffic = traffic;
    this.#leave = () => {
      overlay.leaveAsAnchor();
      dns.leave();
    };
    const { authority } = certificates;
    this.#addresses = addressesOf(config, { overlay, links, edge, authority, box: box.publicKey, listener });
    this.#opened = opening.move();
  }

  /** One process where one is enough, or where the system cannot share a port among several. */
  #createTraffic(deps: TrafficDeps): Traffic {
    const count = countWorkers(this.#config.workers);
    if (count === 1) return createOwnTraffic(deps, this.#config);
    if (!canShareListeners()) {
      const fields = { component: 'gateway.workers', count };
      deps.logger.warn(fields, 'no workers: they need Linux and Node 24.19 or 26.4');
      return createOwnTraffic(deps, this.#config);
    }
    return createFleetTraffic(deps, this.#config, { count, level: this.#deps.logLevel ?? 'info' });
  }

  reload(): Promise<ReloadResult> {
    if (!this.#reloader) throw new Error('the gateway is not started');
    return this.#reloader.reload();
  }

  async drain(ms: number): Promise<void> {
    const now = this.#deps.clock.now();
    const untilMs = Math.min(now + ms, this.#draining?.untilMs ?? Infinity);
    if (this.#draining === undefined) this.#leave?.();
    this.#draining = { sinceMs: this.#draining?.sinceMs ?? now, untilMs };
    await this.#traffic?.drain(ms);
  }

  async stop(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await opened?.disposeAsync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

async function begin(stack: AsyncDisposableStack, service: Service, signal: AbortSignal): Promise<void> {
  await service.start({ signal });
  stack.defer(() => service.stop());
}

function every(clock: Clock, ms: number, run: () => void): () => void {
  let timer = clock.after(ms, tick);
  function tick(): void {
    timer = clock.after(ms, tick);
    run();
  }
  return () => timer.cancel();
}
