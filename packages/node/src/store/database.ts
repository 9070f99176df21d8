/**
 * The agent's one database: node:sqlite, WAL, synchronous=FULL, one writer that holds it exclusively.
 * What `write` returned from is on disk; what threw left nothing behind.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { MoatError, errorCode, systemClock, type Clock, type Timer } from '@moat/core';
import { MIGRATIONS } from './migrations.ts';

/** Primary result codes of SQLite (https://sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_IOERR = 10;
const SQLITE_FULL = 13;

/** Milliseconds that a write may wait for others, and the most that wait. */
const [SOON_MS, MAX_SOON] = [10_000, 1024];

/** A row as SQLite gives it. */
export type Row = Readonly<Record<string, unknown>>;

export class Database implements Disposable {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #clock: Clock;
  #depth = 0;
  #soon: { readonly work: () => void; readonly onFailure: (error: unknown) => void }[] = [];
  #timer: Timer | undefined;

  private constructor(db: DatabaseSync, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
  }

  /**
   * Opens or makes the database and brings it to the current version.
   * @throws `STATE_LOCKED`, `STATE_TOO_NEW`, `STATE_UNUSABLE`, `DISK_FULL`
   */
  static open(path: string, clock: Clock = systemClock): Database {
    let db: DatabaseSync | undefined;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      db = new DatabaseSync(path, { timeout: 500, enableForeignKeyConstraints: true });
      chmodSync(path, 0o600);
      // Exclusive: a second agent on the same state would sign and answer beside us.
      db.exec(
        'PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY',
      );
      const database = new Database(db, clock);
      database.#migrate();
      return database;
    } catch (error) {
      db?.close();
      if (error instanceof MoatError) throw error;
      throw translate(error, `cannot open ${path}`);
    }
  }

  /** Runs `work` in one transaction; inner calls join the outer one. @throws `DISK_FULL`, `DISK_FAILED`, `STATE_UNUSABLE` */
  write<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#depth = 1;
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (error instanceof MoatError) throw error;
      throw translate(error, 'cannot write to the database');
    } finally {
      this.#depth = 0;
    }
  }

  /**
   * Runs `work` within {@link SOON_MS}, in one transaction with whatever else is written soon: for what a crash may take.
   * @param onFailure gets what {@link Database.write} throws
   */
  soon(work: () => void, onFailure: (error: unknown) => void): void {
    this.#soon.push({ work, onFailure });
    if (this.#soon.length >= MAX_SOON) this.flush();
    else this.#timer ??= this.#clock.after(SOON_MS, () => this.flush());
  }

  /** Writes now what is to be written soon. Never throws. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const waiting = this.#soon;
    if (waiting.length === 0) return;
    this.#soon = [];
    try {
      this.write(() => {
        for (const { work } of waiting) work();
      });
    } catch {
      // One that fails takes no other with it.
      for (const { work, onFailure } of waiting) {
        try {
          this.write(work);
        } catch (error) {
          onFailure(error);
        }
      }
    }
  }

  /** To call inside {@link Database.write}, which gives its errors their codes. */
  run(sql: string, ...values: SQLInputValue[]): void {
    this.#prepare(sql).run(...values);
  }

  /** @throws `STATE_UNUSABLE`, `DISK_FAILED` */
  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#read(sql, (statement) => statement.get(...values));
  }

  /** @throws `STATE_UNUSABLE`, `DISK_FAILED` */
  all(sql: string, ...values: SQLInputValue[]): readonly Row[] {
    return this.#read(sql, (statement) => statement.all(...values));
  }

  close(): void {
    if (this.#db.isOpen) this.flush();
    this.#statements.clear();
    if (this.#db.isOpen) this.#db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #read<T>(sql: string, ask: (statement: StatementSync) => T): T {
    try {
      return ask(this.#prepare(sql));
    } catch (error) {
      throw translate(error, 'cannot read the database');
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #migrate(): void {
    const version = Number(this.get('PRAGMA user_version')?.['user_version'] ?? 0);
    if (version > MIGRATIONS.length) {
      throw new MoatError('STATE_TOO_NEW', `the database has version ${version}, this Moat knows ${MIGRATIONS.length}`);
    }
    // Written only where something changes: with a full disk, what is stored still runs.
    if (version === MIGRATIONS.length) return;
    this.write(() => {
      for (const sql of MIGRATIONS.slice(version)) this.#db.exec(sql);
      this.#db.exec(`PRAGMA user_version=${MIGRATIONS.length}`);
    });
  }
}

/** What SQLite or the file system threw, with a code of ours. */
export function translate(error: unknown, message: string): MoatError {
  const code = sqliteCode(error);
  // SQLite itself tells a write that found no room (ENOSPC) from one that failed.
  if (code === SQLITE_FULL || errorCode(error) === 'ENOSPC') {
    return new MoatError('DISK_FULL', 'the disk is full', { cause: error, retryable: true });
  }
  if (code === SQLITE_IOERR) {
    return new MoatError('DISK_FAILED', `${message}: the disk does not read or write`, { cause: error });
  }
  if (code === SQLITE_BUSY || code === SQLITE_LOCKED) {
    return new MoatError('STATE_LOCKED', 'another agent runs with this state directory', { cause: error });
  }
  return new MoatError('STATE_UNUSABLE', message, {
    cause: error,
    reason: error instanceof Error ? error.message : '',
  });
}

function sqliteCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}
