/** {@link GatewayStore} on node:sqlite: one file, WAL, `synchronous=FULL`. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { backup, DatabaseSync, type StatementSync } from 'node:sqlite';
import type { CertificateState } from '@moat/acme';
import type { HeadProof, Publication, WitnessedClaim } from '@moat/contract';
import type { DirectoryStore } from '@moat/overlay';
import { refusal } from '../errors.ts';
import { AUDIT_TABLES, AuditTable, type AuditStore, type AuditTableOptions } from './audit-table.ts';
import { CERTIFICATE_TABLES, CertificateTable } from './certificate-table.ts';
import { DIRECTORY_TABLE, directoryTable } from './directory-table.ts';
import type {
  DeploymentRecord,
  GatewayStore,
  InviteRecord,
  NameGrantRecord,
  NameRecord,
  PublisherRecord,
  StoreChange,
  SuspensionRecord,
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
  `CREATE TABLE suspensions (
     subject TEXT PRIMARY KEY, status INTEGER NOT NULL, note TEXT, since INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;
   ${AUDIT_TABLES}`,
  `ALTER TABLE names ADD COLUMN proven INTEGER;
   ALTER TABLE names ADD COLUMN failing INTEGER;
   CREATE TABLE name_grants (
     host TEXT PRIMARY KEY, deployment TEXT NOT NULL, since INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,
  CERTIFICATE_TABLES,
  DIRECTORY_TABLE,
];
/** The version from which on there is an audit log. */
const AUDIT_VERSION = 3;

export interface SqliteStoreOptions {
  /** Pages of 4 KiB the file may have; more is `DISK_FULL`. @defaultValue what the disk takes */
  readonly maxPages?: number;
  /** @defaultValue a key of its own, which seals the audit log for as long as the store is open */
  readonly audit?: AuditTableOptions;
}

/** Copied in one go; between two goes requests are served. */
const BACKUP_PAGES = 500;

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
      const before = migrate(database);
      const audit = options.audit ?? { key: randomBytes(32), now: () => Date.now() };
      const store = new SqliteStore(database, new AuditTable(database, audit, before < AUDIT_VERSION));
      store.beginAudit();
      return store;
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

class SqliteStore implements GatewayStore {
  readonly #database: DatabaseSync;
  readonly #audit: AuditTable;
  readonly #putName: StatementSync;
  readonly #deleteName: StatementSync;
  readonly #putNameGrant: StatementSync;
  readonly #putDeployment: StatementSync;
  readonly #deleteDeployment: StatementSync;
  readonly #putPublisher: StatementSync;
  readonly #putInvite: StatementSync;
  readonly #deleteInvite: StatementSync;
  readonly #putSuspension: StatementSync;
  readonly #deleteSuspension: StatementSync;
  readonly #certificates: CertificateTable;
  readonly directory: DirectoryStore;
  #open = true;

  constructor(database: DatabaseSync, audit: AuditTable) {
    this.#database = database;
    this.#audit = audit;
    this.#putName = database.prepare(
      `INSERT INTO names (host, deployment, claimed_at, last_live, served, proven, failing) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (host) DO UPDATE SET deployment = excluded.deployment, claimed_at = excluded.claimed_at,
         last_live = excluded.last_live, served = excluded.served, proven = excluded.proven, failing = excluded.failing`,
    );
    this.#deleteName = database.prepare('DELETE FROM names WHERE host = ?');
    this.#putNameGrant = database.prepare(
      `INSERT INTO name_grants (host, deployment, since) VALUES (?, ?, ?)
       ON CONFLICT (host) DO UPDATE SET deployment = excluded.deployment, since = excluded.since`,
    );
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
    this.#putSuspension = database.prepare(
      `INSERT INTO suspensions (subject, status, note, since) VALUES (?, ?, ?, ?)
       ON CONFLICT (subject) DO UPDATE SET status = excluded.status, note = excluded.note, since = excluded.since`,
    );
    this.#deleteSuspension = database.prepare('DELETE FROM suspensions WHERE subject = ?');
    this.#certificates = new CertificateTable(database);
    this.directory = directoryTable(database, (work) => guarded('write', work));
  }

  get audit(): AuditStore {
    return this.#audit;
  }

  /** The first line of a log, or the one that says what was wrong with it. */
  beginAudit(): void {
    const { broken, head } = this.#audit;
    if (broken !== undefined) {
      this.commit({ audit: [{ action: 'audit.broken', actor: 'gateway', details: { reason: broken } }] });
    } else if (head.seq === 0) this.commit({ audit: [{ action: 'audit.begun', actor: 'gateway' }] });
  }

  names(): NameRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT host, deployment, claimed_at, last_live, served, proven, failing FROM names ORDER BY host')
        .all()
        .map((row) => ({
          host: String(row['host']),
          deployment: String(row['deployment']),
          claimedAtMs: Number(row['claimed_at']),
          lastLiveMs: Number(row['last_live']),
          served: row['served'] === 1,
          ...(row['proven'] === null
            ? {}
            : {
                proof: {
                  provenMs: Number(row['proven']),
                  failingMs: row['failing'] === null ? null : Number(row['failing']),
                },
              }),
        })),
    );
  }

  nameGrants(): NameGrantRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT host, deployment, since FROM name_grants')
        .all()
        .map((row) => ({
          host: String(row['host']),
          deployment: String(row['deployment']),
          sinceMs: Number(row['since']),
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

  suspensions(): SuspensionRecord[] {
    return guarded('read', () =>
      this.#database
        .prepare('SELECT subject, status, note, since FROM suspensions')
        .all()
        .map((row) => ({
          subject: String(row['subject']),
          status: row['status'] === 410 ? (410 as const) : (451 as const),
          note: row['note'] === null ? null : String(row['note']),
          sinceMs: Number(row['since']),
        })),
    );
  }

  certificates(): CertificateState {
    return guarded('read', () => this.#certificates.state());
  }

  commit(change: StoreChange): void {
    const { audit = [] } = change;
    const chained = this.#transaction(() => {
      for (const host of change.releasedHosts ?? []) this.#deleteName.run(host);
      for (const name of change.names ?? []) {
        const { host, deployment, claimedAtMs, lastLiveMs, served, proof } = name;
        const proven = proof?.provenMs ?? null;
        this.#putName.run(host, deployment, claimedAtMs, lastLiveMs, served ? 1 : 0, proven, proof?.failingMs ?? null);
      }
      for (const { host, deployment, sinceMs } of change.nameGrants ?? []) {
        this.#putNameGrant.run(host, deployment, sinceMs);
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
      if (change.certificates) this.#certificates.write(change.certificates);
      return audit.length === 0 ? undefined : this.#audit.append(audit);
    });
    chained?.done();
  }

  async backup(path: string): Promise<void> {
    closeSync(openSync(path, 'wx', 0o600));
    try {
      await backup(this.#database, path, { rate: BACKUP_PAGES });
    } catch (error) {
      guarded('back up', () => {
        throw error;
      });
    }
  }

  pruneAudit(beforeMs: number, keepLines: number): number {
    const pruned = this.#transaction(() => this.#audit.prune(beforeMs, keepLines));
    pruned.done();
    const { dropped } = pruned;
    if (dropped > 0)
      this.commit({ audit: [{ action: 'audit.pruned', actor: 'gateway', details: { lines: dropped } }] });
    return dropped;
  }

  #transaction<T>(work: () => T): T {
    return guarded('write', () => {
      this.#database.exec('BEGIN IMMEDIATE');
      try {
        const result = work();
        this.#database.exec('COMMIT');
        return result;
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
    for (const { subject, status, note, sinceMs } of change.suspensions ?? []) {
      this.#putSuspension.run(subject, status, note, sinceMs);
    }
    for (const subject of change.resumed ?? []) this.#deleteSuspension.run(subject);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#database.close();
  }
}

/** Returns the version that the database had. */
function migrate(database: DatabaseSync): number {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  if (version > MIGRATIONS.length) {
    throw refusal('STORE_FAILED', 'the database was written by a newer version of the gateway');
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    database.exec(`BEGIN; ${migration} PRAGMA user_version = ${index + 1}; COMMIT;`);
  }
  return version;
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
