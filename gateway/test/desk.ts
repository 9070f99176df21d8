/** What a gateway decides about bundles and codes, without sockets. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto';
import { silentLogger, type PeerConnection } from '@moat/core';
import type { PublicationBundle } from '@moat/contract';
import type { PublishAnswer } from '@moat/overlay';
import { createManualClock, type ManualClock } from '@moat/testkit';
import { parseGatewayConfig, type GatewayLimits, type Publishers } from '../src/config.ts';
import { NameGrants } from '../src/names/name-grants.ts';
import { isInRanges, type PortRange } from '../src/names/port.ts';
import { ProofDesk } from '../src/names/proof-desk.ts';
import { NameRegistry } from '../src/names/registry.ts';
import { EdgeRules } from '../src/publications/edge-rules.ts';
import { Intake } from '../src/publications/intake.ts';
import { Ledger, type Dropped } from '../src/publications/ledger.ts';
import { PublisherBook } from '../src/publications/publisher-book.ts';
import { SuspensionBook } from '../src/publications/suspensions.ts';
import { Routes } from '../src/routes/snapshot.ts';
import { openSqliteStore } from '../src/store/sqlite.ts';
import type { GatewayStore } from '../src/store/store.ts';
import { GATEWAY, NOW, type Identity } from './shop.ts';

const DEFAULTS = parseGatewayConfig('version: 1\ndomain: localhost\ntls: local\n', 'gateway.yaml').limits;

/** The gateway's key for boxed secrets. */
export const BOX: KeyPairKeyObjectResult = generateKeyPairSync('x25519');

export interface DeskOptions {
  readonly publishers?: Publishers;
  readonly limits?: Partial<GatewayLimits>;
  readonly store?: GatewayStore;
  readonly clock?: ManualClock;
  readonly warnsOfStrangers?: boolean;
  readonly reserved?: readonly string[];
  readonly tcpPorts?: readonly PortRange[];
}

export class Desk {
  readonly clock: ManualClock;
  readonly store: GatewayStore;
  readonly registry: NameRegistry;
  readonly ledger: Ledger;
  readonly publishers: PublisherBook;
  readonly suspensions: SuspensionBook;
  readonly routes: Routes;
  readonly intake: Intake;
  readonly proofs: ProofDesk;
  readonly grants: NameGrants;
  /** What the DNS says, by name. */
  readonly texts = new Map<string, readonly string[] | 'silent'>();
  readonly lookups: string[] = [];
  readonly connected = new Set<string>();
  readonly withdrawn: string[] = [];
  readonly dropped: Dropped[] = [];
  readonly news: string[] = [];

  constructor(options: DeskOptions = {}) {
    this.clock = options.clock ?? createManualClock(NOW);
    this.store = options.store ?? openSqliteStore(':memory:');
    const domain = 'localhost';
    const limits = { ...DEFAULTS, ...options.limits };
    this.proofs = new ProofDesk({
      clock: this.clock,
      logger: silentLogger,
      lookup: async (name) => {
        this.lookups.push(name);
        const texts = this.texts.get(name) ?? [];
        if (texts === 'silent') throw new Error('nobody answers');
        return texts;
      },
    });
    this.grants = new NameGrants({ clock: this.clock, store: this.store });
    this.registry = new NameRegistry(
      {
        clock: this.clock,
        isLive: (host) => this.intake.isLive(host),
        isGranted: (host, deployment) => this.grants.isGranted(host, deployment),
        heirOf: (host, holder) => this.ledger.heirOf(holder, host),
        prove: (host, deployment) => this.proofs.judge(host, deployment),
      },
      {
        domain,
        maxNames: limits.names,
        reserved: options.reserved ?? [],
        mayOpen: (port) => isInRanges(port, options.tcpPorts ?? []),
      },
      this.store.names(),
    );
    const edgeRules = new EdgeRules({ boxKey: BOX.privateKey });
    this.ledger = new Ledger({ clock: this.clock, edgeRules }, { domain }, this.store.deployments());
    this.publishers = new PublisherBook(
      { clock: this.clock, store: this.store },
      { publishers: options.publishers ?? 'open', namesPerDeployment: limits.namesPerDeployment },
    );
    this.suspensions = new SuspensionBook({ clock: this.clock, store: this.store });
    this.routes = new Routes({ now: () => this.clock.now(), random: Math.random });
    this.intake = new Intake(
      {
        clock: this.clock,
        logger: silentLogger,
        store: this.store,
        registry: this.registry,
        ledger: this.ledger,
        publishers: this.publishers,
        suspensions: this.suspensions,
        edgeRules,
        proofs: this.proofs,
        routes: this.routes,
        isConnected: (peer) => this.connected.has(peer),
        onWithdrawn: (hosts) => this.withdrawn.push(...hosts),
        onDropped: (dropped) => this.dropped.push(...dropped),
        onNews: (peers) => this.news.push(...peers),
      },
      {
        gateway: GATEWAY.peer,
        warnsOfStrangers: options.warnsOfStrangers === true,
        limits,
        urlOf: (host) => `https://${host}:8443`,
      },
    );
    this.intake.refreshRoutes();
  }

  async show(by: Identity, bundle: PublicationBundle, from: string = '192.0.2.1'): Promise<PublishAnswer> {
    const answer = await this.intake.publish(by.peer, connectionFrom(from), bundle);
    if (answer.ok) this.connected.add(by.peer);
    return answer;
  }

  redeem(by: Identity, deployment: string, code: string, from: string = '192.0.2.1'): Promise<PublishAnswer> {
    return this.intake.redeem(by.peer, connectionFrom(from), { deployment, code });
  }

  hosts(): string[] {
    return this.routes.current.list().map(({ host }) => host);
  }

  membersOf(host: string): readonly string[] {
    return this.routes.current.find(host)?.members ?? [];
  }
}

export function refused(answer: PublishAnswer): string {
  assert.equal(answer.ok, false);
  return answer.ok ? '' : answer.code;
}

function connectionFrom(host: string): PeerConnection {
  return { remote: { host, port: 1 } } as PeerConnection;
}
