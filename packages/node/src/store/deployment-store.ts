/** Deployments on disk: genesis, versions, claims, what was witnessed, receipts. */
import { MoatError, isMoatError, type DeploymentId, type Hash, type OwnerKey } from '@moat/core';
import {
  contractBytes,
  canonicalize,
  hashClaim,
  headHash,
  parseContract,
  parseGenesis,
  parseMemberClaim,
  parseSignedHead,
  type Contract,
  type Genesis,
  type HeadProof,
  type MemberClaim,
  type SignedHead,
  type Succession,
} from '@moat/contract';
import type { Fork } from '../deployments/forks.ts';
import type { AgeMark } from '../deployments/freshness.ts';
import type { Database, Row } from './database.ts';

/** Receipts kept of one deployment; the oldest go first. */
const RECEIPTS_KEPT = 50;
/**
 * Versions kept of one deployment, for rollback and for members that ask for one; the newest always. Whoever holds a
 * quorum can sign as many as they like, a mebibyte each.
 */
const VERSIONS_KEPT = 100;
const VERSION_BYTES_KEPT = 32 * 1024 * 1024;

/** A deployment as it was last accepted. */
export interface StoredDeployment {
  readonly id: DeploymentId;
  readonly proof: HeadProof;
  readonly contract: Contract;
  /** Milliseconds since 1970. */
  readonly acceptedAt: number;
  readonly claims: readonly MemberClaim[];
  /** Other branches that a quorum signed. */
  readonly forks: readonly Fork[];
  /** Since a keeper last confirmed the pinned head. */
  readonly age: AgeMark;
}

/** One accepted version. */
export interface StoredVersion {
  readonly contract: Uint8Array;
  readonly signed: SignedHead;
  readonly acceptedAt: number;
}

/** What this node did with a version. */
export interface Receipt {
  readonly version: number;
  readonly head: Hash;
  readonly result: 'applied' | 'failed' | 'refused';
  readonly code: string | null;
  readonly message: string | null;
  /** Milliseconds since 1970. */
  readonly time: number;
}

export class DeploymentStore {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Everything as it was acknowledged. @throws `STATE_UNUSABLE` when the disk gives back something else. */
  load(): readonly StoredDeployment[] {
    return this.#db.all('SELECT * FROM deployments ORDER BY id').map((row) => {
      try {
        return this.#loadOne(row);
      } catch (cause) {
        // Never left out: a deployment that is forgotten would take any old version again.
        if (isMoatError(cause, 'STATE_UNUSABLE')) throw cause;
        throw damaged(String(row['id']), cause);
      }
    });
  }

  /**
   * Pins a version: contract, head and proof in one commit.
   * @param isOtherBranch what was held before is no history of it, and goes
   */
  saveVersion(proof: HeadProof, contract: Contract, acceptedAt: number, isOtherBranch = false): void {
    const { head } = proof.newest;
    const hash = headHash(head);
    this.#db.write(() => {
      this.#db.run(
        `INSERT INTO deployments (id, genesis, successions, pinned_version, pinned_head, unconfirmed_at)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET successions = excluded.successions, pinned_version = excluded.pinned_version,
           pinned_head = excluded.pinned_head`,
        head.deployment,
        canonicalize(proof.genesis),
        JSON.stringify(proof.successions),
        head.version,
        hash,
        acceptedAt,
      );
      if (isOtherBranch) this.#db.run('DELETE FROM versions WHERE deployment = ?', head.deployment);
      // A version that is taken beside branches ends them.
      this.#db.run('DELETE FROM forks WHERE deployment = ?', head.deployment);
      this.#db.run(
        'INSERT INTO versions (deployment, version, head, contract, signed, accepted_at) VALUES (?, ?, ?, ?, ?, ?)',
        head.deployment,
        head.version,
        hash,
        contractBytes(contract),
        JSON.stringify(proof.newest),
        acceptedAt,
      );
      this.#db.run(
        `DELETE FROM versions WHERE deployment = ?1 AND version < ?2 AND version IN (
           SELECT version FROM (
             SELECT version, row_number() OVER newest AS place, sum(length(contract)) OVER newest AS bytes
             FROM versions WHERE deployment = ?1 WINDOW newest AS (ORDER BY version DESC))
           WHERE place > ?3 OR bytes > ?4)`,
        head.deployment,
        head.version,
        VERSIONS_KEPT,
        VERSION_BYTES_KEPT,
      );
    });
  }

  version(deployment: DeploymentId, version: number): StoredVersion | undefined {
    const row = this.#db.get(
      'SELECT contract, signed, accepted_at FROM versions WHERE deployment = ? AND version = ?',
      deployment,
      version,
    );
    if (row === undefined) return undefined;
    return {
      contract: row['contract'] as Uint8Array,
      signed: parseSignedHead(row['signed']),
      acceptedAt: Number(row['accepted_at']),
    };
  }

  /** How long no keeper had confirmed the pinned head, `at` a time of ours. */
  saveAge(deployment: DeploymentId, ageMs: number, at: number): void {
    this.#db.write(() => {
      const sql = 'UPDATE deployments SET unconfirmed_ms = ?, unconfirmed_at = ? WHERE id = ?';
      this.#db.run(sql, Math.round(ageMs), Math.round(at), deployment);
    });
  }

  /** @param replaced the head of that branch which it takes the place of */
  saveFork({ proof, contract }: Fork, replaced: Hash | undefined, seenAt: number): void {
    const { head } = proof.newest;
    this.#db.write(() => {
      const remove = 'DELETE FROM forks WHERE deployment = ? AND head = ?';
      if (replaced !== undefined) this.#db.run(remove, head.deployment, replaced);
      this.#db.run(
        `INSERT INTO forks (deployment, head, version, proof, successions, contract, seen_at)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET contract = excluded.contract`,
        head.deployment,
        headHash(head),
        head.version,
        JSON.stringify(proof.newest),
        JSON.stringify(proof.successions),
        contract === null ? null : contractBytes(contract),
        seenAt,
      );
    });
  }

  /** @param replaced claims of the same deployment that it takes the place of */
  saveClaim(claim: MemberClaim, replaced: readonly Hash[] = []): void {
    const { deployment } = claim.claim;
    this.#db.write(() => {
      for (const hash of replaced) {
        this.#db.run('DELETE FROM claims WHERE deployment = ? AND hash = ?', deployment, hash);
      }
      this.#db.run(
        'INSERT OR IGNORE INTO claims (deployment, hash, claim) VALUES (?, ?, ?)',
        deployment,
        hashClaim(claim.claim),
        JSON.stringify(claim),
      );
    });
  }

  /** What this keeper witnessed for an invite, whenever that was. */
  witnessed(deployment: DeploymentId, invite: OwnerKey): MemberClaim | undefined {
    const row = this.#db.get('SELECT claim FROM witnessed WHERE deployment = ? AND invite = ?', deployment, invite);
    return row === undefined ? undefined : parseMemberClaim(row['claim']);
  }

  /** Remembers the one claim on an invite, before it is answered; a second one for that invite fails. */
  saveWitnessed(invite: OwnerKey, claim: MemberClaim): void {
    this.#db.write(() => {
      this.#db.run(
        'INSERT INTO witnessed (deployment, invite, hash, claim) VALUES (?, ?, ?, ?)',
        claim.claim.deployment,
        invite,
        hashClaim(claim.claim),
        JSON.stringify(claim),
      );
      this.saveClaim(claim);
    });
  }

  /** On disk a little later, and read as if it were there. A machine that lost it applies its version again. */
  addReceipt(deployment: DeploymentId, receipt: Receipt, onFailure: (error: unknown) => void): void {
    const { version, head, result, code, message, time } = receipt;
    this.#db.soon(() => {
      this.#db.run(
        'INSERT INTO receipts (deployment, version, head, result, code, message, time) VALUES (?, ?, ?, ?, ?, ?, ?)',
        deployment,
        version,
        head,
        result,
        code,
        message,
        time,
      );
      this.#db.run(
        `DELETE FROM receipts WHERE deployment = ?1 AND id <=
           (SELECT id FROM receipts WHERE deployment = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`,
        deployment,
        RECEIPTS_KEPT,
      );
    }, onFailure);
  }

  /** Newest first. */
  receipts(deployment: DeploymentId, limit: number): readonly Receipt[] {
    this.#db.flush();
    return this.#db
      .all('SELECT * FROM receipts WHERE deployment = ? ORDER BY id DESC LIMIT ?', deployment, limit)
      .map((row) => ({
        version: Number(row['version']),
        head: String(row['head']),
        result: row['result'] as Receipt['result'],
        code: row['code'] as string | null,
        message: row['message'] as string | null,
        time: Number(row['time']),
      }));
  }

  /** Deletes a deployment; what was witnessed for it stays. */
  forget(deployment: DeploymentId): void {
    this.#db.flush();
    this.#db.write(() => {
      this.#db.run('DELETE FROM deployments WHERE id = ?', deployment);
      for (const table of ['exposed', 'forwards', 'presented', 'own_claims']) {
        this.#db.run(`DELETE FROM ${table} WHERE deployment = ?`, deployment);
      }
    });
  }

  #loadOne(row: Row): StoredDeployment {
    const id = String(row['id']);
    const newest = this.version(id, Number(row['pinned_version']));
    if (newest === undefined || headHash(newest.signed.head) !== row['pinned_head']) throw damaged(id);
    const genesis = parseGenesis(row['genesis']);
    return {
      id,
      proof: {
        genesis,
        // Written by saveVersion from verified values; verified again with the proof when it is shown to a peer.
        successions: JSON.parse(String(row['successions'])) as Succession[],
        newest: newest.signed,
      },
      contract: parseContract(newest.contract),
      acceptedAt: newest.acceptedAt,
      age: { ageMs: Number(row['unconfirmed_ms']), at: Number(row['unconfirmed_at']) },
      claims: this.#db
        .all('SELECT claim FROM claims WHERE deployment = ? ORDER BY hash', id)
        .map((claim) => parseMemberClaim(claim['claim'])),
      forks: this.#db
        .all('SELECT * FROM forks WHERE deployment = ? ORDER BY seen_at', id)
        .map((fork) => loadFork(genesis, fork)),
    };
  }
}

function loadFork(genesis: Genesis, row: Row): Fork {
  const successions = JSON.parse(String(row['successions'])) as Succession[];
  return {
    proof: { genesis, successions, newest: parseSignedHead(row['proof']) },
    contract: row['contract'] === null ? null : parseContract(row['contract']),
  };
}

function damaged(deployment: DeploymentId, cause?: unknown): MoatError<'STATE_UNUSABLE'> {
  return new MoatError('STATE_UNUSABLE', `what is stored of deployment ${deployment} is damaged`, { cause });
}
