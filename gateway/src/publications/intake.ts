/**
 * Members dial in, prove what they publish, and become upstreams. Everything that changes what is served goes
 * through here: bundle → judged → names claimed → on disk → ledger → routes.
 */
import { errorCode, isMoatError, type Clock, type Logger, type PeerConnection, type PeerId } from '@moat/core';
import type { PublicationBundle } from '@moat/contract';
import type { PublishAnswer } from '@moat/overlay';
import type { Publishers } from '../config.ts';
import { refusal } from '../errors.ts';
import type { NameRegistry } from '../names/registry.ts';
import type { Routes } from '../routes/snapshot.ts';
import type { GatewayStore, NameRecord } from '../store/store.ts';
import type { Ledger } from './ledger.ts';
import { judgeBundle, type JudgedBundle } from './verify.ts';

export interface IntakeDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: GatewayStore;
  readonly registry: NameRegistry;
  readonly ledger: Ledger;
  readonly routes: Routes;
  /** True while the peer is connected in any way. */
  isConnected(peer: PeerId): boolean;
  /** Hosts that led somewhere and do not any more. */
  onWithdrawn(hosts: readonly string[]): void;
  /** Upstreams changed: links to peers that are none any more must go. */
  onUpstreams(): void;
}

export interface IntakeOptions {
  /** The gateway's own PeerId. */
  readonly gateway: PeerId;
  readonly publishers: Publishers;
  /** Public address of a host. */
  urlOf(host: string): string;
  /** Deployments kept at most; a new one beyond is refused. @defaultValue 100000 */
  readonly maxDeployments?: number;
}

const DEFAULT_MAX_DEPLOYMENTS = 100_000;

export class Intake {
  readonly #deps: IntakeDeps;
  readonly #options: IntakeOptions;
  /** Hosts whose first answer could not be written; tried again by the sweep, not by every request. */
  readonly #unkept = new Set<string>();

  constructor(deps: IntakeDeps, options: IntakeOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** The gateway's side of `/moat/publish/1`. Never rejects for what a peer may send. */
  publish(peer: PeerId, _connection: PeerConnection, bundle: PublicationBundle): Promise<PublishAnswer> {
    const { logger } = this.#deps;
    try {
      return Promise.resolve(this.#accept(peer, bundle));
    } catch (error) {
      const code = errorCode(error);
      logger.warn({ component: 'gateway.intake', peer, code, err: error }, 'publication refused');
      const message = isMoatError(error) ? error.message : 'the gateway failed';
      return Promise.resolve({ ok: false, code: isMoatError(error) ? code : 'INTERNAL', message });
    }
  }

  /** Makes the routes anew from registry and ledger: at start, and after leases ended. */
  refreshRoutes(): void {
    const { registry, ledger, routes } = this.#deps;
    const specs = ledger.routes((host) => registry.get(host)?.deployment);
    const withdrawn = routes.swap(
      specs,
      registry.list().map(({ host }) => host),
    );
    this.#deps.onWithdrawn(withdrawn);
    this.#deps.onUpstreams();
  }

  /** A request was answered under `host`: its lease is the long one from now on. */
  markServed(host: string): void {
    const record = this.#deps.registry.get(host);
    if (!record || record.served || this.#unkept.has(host)) return;
    if (!this.#keep([{ ...record, served: true, lastLiveMs: this.#deps.clock.now() }], [])) this.#unkept.add(host);
  }

  /** To call about every hour: live names are renewed, names whose lease is over are released. */
  sweep(everyMs?: number): void {
    const { registry } = this.#deps;
    this.#unkept.clear();
    const isLive = ({ host }: NameRecord): boolean => this.isLive(host);
    const renewals = registry.renewals(isLive, everyMs);
    const expired = registry.expired(isLive).map(({ host }) => host);
    if (renewals.length === 0 && expired.length === 0) return;
    if (this.#keep(renewals, expired) && expired.length > 0) this.refreshRoutes();
  }

  /** True when a member that serves `host` is connected. */
  isLive(host: string): boolean {
    return this.#deps.routes.current.find(host)?.members.some((peer) => this.#deps.isConnected(peer)) ?? false;
  }

  #accept(peer: PeerId, bundle: PublicationBundle): PublishAnswer {
    const { clock, ledger, logger, registry, store } = this.#deps;
    const deployment = bundle.proof.newest.head.deployment;
    const current = ledger.get(deployment);
    const judged = judgeBundle(bundle, {
      gateway: this.#options.gateway,
      presenter: peer,
      publishers: this.#options.publishers,
      current,
      nowMs: clock.now(),
    });
    if (judged.refusedAs) {
      store.commit({ deployments: [judged.record] });
      ledger.apply(judged.record);
      this.refreshRoutes();
      throw judged.refusedAs;
    }
    const { names, refused } = this.#claimNames(judged);
    if (!current && names.length === 0 && refused[0]) {
      // Nothing of a newcomer can be served: nothing of it is kept.
      return { ok: false, code: refused[0].code, message: refused[0].message };
    }
    if (!current && ledger.size >= (this.#options.maxDeployments ?? DEFAULT_MAX_DEPLOYMENTS)) {
      throw refusal('GATEWAY_BUSY', 'this gateway serves as many deployments as it may', { retryable: true });
    }
    // On disk before use: the pin against rollback is worth nothing otherwise.
    store.commit({ deployments: [judged.record], names: names.map(({ record }) => record) });
    registry.apply(names.map(({ record }) => record));
    ledger.apply(judged.record, peer);
    this.refreshRoutes();
    logger.info(
      {
        component: 'gateway.intake',
        peer,
        deployment,
        version: judged.record.proof.newest.head.version,
        count: names.length,
      },
      'publication accepted',
    );
    return {
      ok: true,
      names: names.map(({ name, record }) => ({ name, host: record.host, url: this.#options.urlOf(record.host) })),
      refused,
    };
  }

  #claimNames({ record, servable, refused }: JudgedBundle): {
    names: { name: string; record: NameRecord }[];
    refused: { name: string; code: string; message: string }[];
  } {
    const names: { name: string; record: NameRecord }[] = [];
    const denied = refused.map(({ publication, error }) => ({
      name: publication.name,
      code: error.code as string,
      message: error.message,
    }));
    const claims = this.#deps.registry.claim(
      record.deployment,
      servable.map(({ name }) => name),
    );
    for (const [name, outcome] of claims) {
      if ('record' in outcome) names.push({ name, record: outcome.record });
      else denied.push({ name, code: outcome.error.code, message: outcome.error.message });
    }
    return { names, refused: denied };
  }

  /** Writes names; a full disk is reported and what runs goes on. */
  #keep(names: readonly NameRecord[], releasedHosts: readonly string[]): boolean {
    try {
      this.#deps.store.commit({ names, releasedHosts });
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.names', err, code: errorCode(err) }, 'names not kept');
      return false;
    }
    this.#deps.registry.apply(names, releasedHosts);
    return true;
  }
}
