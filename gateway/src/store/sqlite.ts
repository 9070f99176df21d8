/** {@link GatewayStore} on node:sqlite: one file, WAL, `synchronous=FULL`. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { HeadProof, Publication, WitnessedClaim } from '@moat/contract';
import { refusal } from '../errors.ts';
import type {
  DeploymentRecord,
  GatewayStore,
  InviteRecord,
  NameRecord,
  PublisherRecord,
  StoreChange,
} from './store.ts';

/** Each entry takes the database from version i to i + 1. */
const MIGRATIONS = [
  `CREATE TABLE names (
     host TEXT PRIMARY KEY, deployment TEXT NOT NULL, claimed_at INTEGER NOT NULL,
     last_live INTEGER NOT NULL, served INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE deployments (
     deployment TEXT PRIMARY KEY, proof TEXT NOT NULL, publications TEXT NOT NULL,
     claims TEXT NOT NULL, updated INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
  `CREATE TABLE publishers (
     deployment TEXT PRIMARY KEY, rule TEXT NOT NULL, names INTEGER, invite TEXT, since INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE invites (
     hash TEXT PRIMARY KEY, names INTEGER, uses INTEGER NOT NULL, used INTEGER NOT NULL,
     created INTEGER NOT NULL, expires INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
];

export interface SqliteStoreOptions {
  /** Pages of 4 KiB the file may have; more is `DISK_FULL`. @defaultValue what the disk takes */
  readonly maxPages?: number;
}

/** Primary result codes of SQLite (https://sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;
/** The disk or the page limit. */
const SQLITE_FULL = 13;

/**
 * Opens the database at `path`, making it (0600) if need be; `:memory:` is one that is gone when closed.
 * @throws `STORE_FAILED`, `STATE_LOCKED`, `DISK_FULL`
 */
export function openSqliteStore(path: string, options: SqliteStoreOptions = {}): GatewayStore {
  return guarded('open', () => {
    if (path !== ':memory:') {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      // SQLite gives its journal the rights of the file, so they are set before it opens it.
      closeSync(openSync(path, 'a', 0o600));
    }
    const database = new DatabaseSync(path, { timeout: 500 });
    try {
      // Exclusive: two gateways would give one name to two deployments.
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      if (options.maxPages !== undefined) database.exec(`PRAGMA max_page_count = ${options.maxPages}`);
      migrate(database);
      return new SqliteStore(database);
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

class SqliteStore implements GatewayStore {
  readonly #database: DatabaseSync;
  readonly #putName: StatementSync;
  readonly #deleteName: StatementSync;
  readonly #putDeployment: StatementSync;
  readonly #deleteDeployment: StatementSync;
  readonly #putPublisher: StatementSync;
  readonly #putInvite: StatementSync;
  readonly #deleteInvite: StatementSync;
  #open = true;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#putName = database.prepare(
      `INSERT INTO names (host, deployment, claimed_at, last_live, served) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (host) DO UPDATE SET deployment = excluded.deployment, claimed_at = excluded.claimed_at,
         last_live = excluded.last_live, served = excluded.served`,
    );
    this.#deleteName = database.prepare('DELETE FROM names WHERE host = ?');
    this.#putDeployment = database.prepare(
      `INSERT INTO deployments (deployment, proof, publications, claims, updated) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (deployment) DO UPDATE SET proof = excluded.proof, publications = excluded.publications,
         claims = excluded.claims, updated = excluded.updated`,
    );
    this.#deleteDeployment = database.prepare('DELETE FROM deployments WHERE deployment = ?');
    this.#putPublisher = database.prepare(
      `INSERT INTO publishers (deployment, rule, names, invite, since) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (deployment) DO UPDATE SET rule = excluded.rule, names = excluded.names,
         invite = excluded.invite, since = excluded.since`,
    );
    this.#putInvite = database.prepare(
      `INSERT INTO invites (hash, names, uses, used, created, expires) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (hash) DO UPDATE SET used = excluded.used`,
    );
    this.#deleteInvite = database.prepare('DELETE FROM invites WHERE hash = ?');
  }

  names(): NameRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT host, deployment, claimed_at, last_live, served FROM names ORDER BY host')
        .all()
        .map((row) => ({
          host: String(row['host']),
          deployment: String(row['deployment']),
          claimedAtMs: Number(row['claimed_at']),
          lastLiveMs: Number(row['last_live']),
          served: row['served'] === 1,
        })),
    );
  }

  deployments(): DeploymentRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT deployment, proof, publications, claims, updated FROM deployments')
        .all()
        .map((row) => ({
          deployment: String(row['deployment']),
          proof: JSON.parse(String(row['proof'])) as HeadProof,
          publications: JSON.parse(String(row['publications'])) as Publication[],
          claims: JSON.parse(String(row['claims'])) as WitnessedClaim[],
          updatedMs: Number(row['updated']),
        })),
    );
  }

  publishers(): PublisherRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT deployment, rule, names, invite, since FROM publishers')
        .all()
        .map((row) => ({
          deployment: String(row['deployment']),
          rule: row['rule'] === 'allow' ? ('allow' as const) : ('deny' as const),
          names: row['names'] === null ? null : Number(row['names']),
          invite: row['invite'] === null ? null : String(row['invite']),
          sinceMs: Number(row['since']),
        })),
    );
  }

  invites(): InviteRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT hash, names, uses, used, created, expires FROM invites')
        .all()
        .map((row) => ({
          hash: String(row['hash']),
          names: row['names'] === null ? null : Number(row['names']),
          uses: Number(row['uses']),
          used: Number(row['used']),
          createdMs: Number(row['created']),
          expiresMs: Number(row['expires']),
        })),
    );
  }

  commit(change: StoreChange): void {
    guarded('write', () => {
      this.#database.exec('BEGIN IMMEDIATE');
      try {
        for (const host of change.releasedHosts ?? []) this.#deleteName.run(host);
        for (const name of change.names ?? []) {
          this.#putName.run(name.host, name.deployment, name.claimedAtMs, name.lastLiveMs, name.served ? 1 : 0);
        }
        for (const record of change.deployments ?? []) {
          const { deployment, proof, publications, claims, updatedMs } = record;
          this.#putDeployment.run(
            deployment,
            JSON.stringify(proof),
            JSON.stringify(publications),
            JSON.stringify(claims),
            updatedMs,
          );
        }
        this.#writePublishers(change);
        this.#database.exec('COMMIT');
      } catch (error) {
        // A full disk may have rolled back already.
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  #writePublishers(change: StoreChange): void {
    for (const deployment of change.forgotten ?? []) this.#deleteDeployment.run(deployment);
    for (const { deployment, rule, names, invite, sinceMs } of change.publishers ?? []) {
      this.#putPublisher.run(deployment, rule, names, invite, sinceMs);
    }
    for (const { hash, names, uses, used, createdMs, expiresMs } of change.invites ?? []) {
      this.#putInvite.run(hash, names, uses, used, createdMs, expiresMs);
    }
    for (const hash of change.removedInvites ?? []) this.#deleteInvite.run(hash);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#database.close();
  }
}

function migrate(database: DatabaseSync): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  if (version > MIGRATIONS.length) {
    throw refusal('STORE_FAILED', 'the database was written by a newer version of the gateway');
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    database.exec(`BEGIN; ${migration} PRAGMA user_version = ${index + 1}; COMMIT;`);
  }
}

function guarded<T>(action: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const { errcode, kind } = error as { errcode?: number; kind?: string };
    if (kind === 'moat-error') throw error;
    // The low byte is the primary result code.
    if (errcode !== undefined && (errcode & 0xff) === SQLITE_FULL) {
      throw refusal('DISK_FULL', 'the disk of the gateway database is full', { cause: error, retryable: true });
    }
    if (errcode !== undefined && (errcode & 0xff) === SQLITE_BUSY) {
      throw refusal('STATE_LOCKED', 'another gateway runs with this state', { cause: error });
    }
    throw refusal('STORE_FAILED', `cannot ${action} the gateway database`, { cause: error });
  }
}
