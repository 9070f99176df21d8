/** Deployments of one machine on a database of their own, restarted at will. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, systemClock, type Clock } from '@moat/core';
import { canonicalBytes, type Contract, type HeadProof, type MemberClaim } from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { Deployments, type Change } from '../src/deployments/deployments.ts';
import { Keeper } from '../src/deployments/keeper.ts';
import { EventFeed } from '../src/event-feed.ts';
import { LocalTime } from '../src/local-time.ts';
import { Database } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { MachineStore } from '../src/store/machine-store.ts';
import { Chain } from './chain.ts';

export const PEER = createNodeKey().peerId;

export class Bench implements AsyncDisposable {
  readonly directory: string;
  readonly key: NodeKey;
  readonly changes: Change[] = [];
  readonly unkept: string[] = [];
  readonly clock: { -readonly [K in 'now']: Clock[K] } & Clock = { ...systemClock };
  database!: Database;
  deployments!: Deployments;
  keeper!: Keeper;
  time!: LocalTime;

  constructor(directory: string, key: NodeKey) {
    this.directory = directory;
    this.key = key;
    this.open();
  }

  static async create(key: NodeKey = createNodeKey()): Promise<Bench> {
    return new Bench(await mkdtemp(join(tmpdir(), 'moat-deployments-')), key);
  }

  open(): void {
    this.database = Database.open(join(this.directory, 'node.db'));
    const store = new DeploymentStore(this.database);
    this.time = new LocalTime({ clock: this.clock, store: new MachineStore(this.database) });
    const self = this.key.peerId;
    const logger = silentLogger;
    this.deployments = new Deployments({
      self,
      store,
      write: (work) => this.database.write(work),
      time: this.time,
      logger,
      feed: new EventFeed(() => this.time.now()),
      onChange: (change) => this.changes.push(change),
      onUnkept: (id) => this.unkept.push(id),
    });
    this.deployments.load();
    const { deployments, time } = this;
    this.keeper = new Keeper({ self, signer: this.key.signer, deployments, store, time, logger });
  }

  reopen(): void {
    this.database.close();
    this.open();
  }

  offer({ proof, contract }: { proof: HeadProof; contract: Contract }): Promise<string> {
    return this.deployments.offerProof(PEER, proof, () => Promise.resolve(canonicalBytes(contract)));
  }

  offerClaim(claim: MemberClaim): boolean {
    return this.deployments.offerClaims(PEER, claim.claim.deployment, [claim]).length > 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.database.close();
    await rm(this.directory, { recursive: true });
  }
}

/** A keeper that holds version 0. */
export async function begin(): Promise<{
  bench: Bench;
  chain: Chain;
  id: string;
  version0: { proof: HeadProof; contract: Contract };
}> {
  const bench = await Bench.create();
  const chain = new Chain(bench.key);
  const version0 = chain.next();
  const { proof, contract } = version0;
  bench.deployments.create(proof.genesis, contract, proof.newest);
  return { bench, chain, id: contract.deployment, version0 };
}
