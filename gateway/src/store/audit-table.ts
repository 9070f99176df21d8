/**
 * The audit log's lines and its sealed ends in the gateway's database. Lines are added inside the transaction of what they
 * tell of: neither is there without the other.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { AuditAnchor, AuditEvent, AuditHead } from '../audit/chain.ts';
import { NO_LINE, chainLine, isSeal, sealOf } from '../audit/chain.ts';
import { ChainCheck, parseLine, type AuditProblem } from '../audit/check.ts';

export const AUDIT_TABLES = `CREATE TABLE audit (
     seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, line TEXT NOT NULL
   ) STRICT;
   CREATE INDEX audit_time ON audit (time);
   CREATE TABLE audit_ends (
     id INTEGER PRIMARY KEY CHECK (id = 1), anchor_seq INTEGER NOT NULL, anchor_hash TEXT NOT NULL,
     head_seq INTEGER NOT NULL, head_hash TEXT NOT NULL, seal TEXT NOT NULL
   ) STRICT;`;

export interface AuditTableOptions {
  /** 32 bytes that are not in the database. */
  readonly key: Uint8Array;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** What others see of the log. */
export interface AuditStore {
  readonly head: AuditHead;
  readonly anchor: AuditAnchor;
  /** Lines that are kept. */
  readonly lines: number;
  /** Lines as they are kept, oldest first: `limit` of them behind number `afterSeq` and not before a time. */
  read(afterSeq: number, sinceMs: number, limit: number): readonly string[];
  /** Reads everything against the sealed ends; other work goes on between parts, and lines that come meanwhile are left out. */
  check(): Promise<{ readonly lines: number; readonly problems: readonly AuditProblem[] }>;
}

/** Lines read between two turns of the loop. */
const CHECK_ROWS = 1_000;
/** Lines that one transaction drops. */
const PRUNE_ROWS = 10_000;

export class AuditTable implements AuditStore {
  readonly #database: DatabaseSync;
  readonly #options: AuditTableOptions;
  readonly #put: StatementSync;
  readonly #putEnds: StatementSync;
  #anchor: AuditAnchor = NO_LINE;
  #head: AuditHead = NO_LINE;
  /** Why the sealed ends could not be believed when the database was opened. */
  readonly #broken: string | undefined;

  /** @param isFresh the tables were made just now, so that nothing can be missing. */
  constructor(database: DatabaseSync, options: AuditTableOptions, isFresh: boolean) {
    this.#database = database;
    this.#options = options;
    this.#put = database.prepare('INSERT INTO audit (seq, time, line) VALUES (?, ?, ?)');
    this.#putEnds = database.prepare(
      `INSERT INTO audit_ends (id, anchor_seq, anchor_hash, head_seq, head_hash, seal) VALUES (1, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET anchor_seq = excluded.anchor_seq, anchor_hash = excluded.anchor_hash,
         head_seq = excluded.head_seq, head_hash = excluded.head_hash, seal = excluded.seal`,
    );
    this.#broken = this.#load(isFresh);
  }

  get head(): AuditHead {
    return this.#head;
  }

  get anchor(): AuditAnchor {
    return this.#anchor;
  }

  /** What was wrong when the database was opened; the caller says so in the log itself. */
  get broken(): string | undefined {
    return this.#broken;
  }

  get lines(): number {
    return this.#head.seq - this.#anchor.seq;
  }

  /** Chains events onto the log, inside the caller's transaction; the new head counts once `done` is called. */
  append(events: readonly AuditEvent[]): { done(): void } {
    let head = this.#head;
    const nowMs = this.#options.now();
    for (const event of events) {
      const line = chainLine(head, event, nowMs);
      this.#put.run(line.seq, nowMs, JSON.stringify(line));
      head = { seq: line.seq, hash: line.hash };
    }
    this.#seal(this.#anchor, head);
    return { done: () => void (this.#head = head) };
  }

  /** Drops lines before a time and above a number, at most {@link PRUNE_ROWS}; what is left begins behind them. */
  prune(beforeMs: number, keepLines: number): { readonly dropped: number; done(): void } {
    const first = this.#anchor.seq + 1;
    const tooMany = this.#head.seq - keepLines;
    // Where nothing is old, the first line says so.
    const young = this.#database
      .prepare('SELECT seq FROM audit NOT INDEXED WHERE time >= ? ORDER BY seq LIMIT 1')
      .get(beforeMs);
    const tooOld = young === undefined ? this.#head.seq : Number(young['seq']) - 1;
    // The last line stays: the chain goes on from it.
    const through = Math.min(Math.max(tooMany, tooOld), this.#head.seq - 1, first + PRUNE_ROWS - 1);
    if (through < first) return { dropped: 0, done: () => undefined };
    const last = parseLine(this.#textOf(through) ?? '');
    if (last === undefined) return { dropped: 0, done: () => undefined };
    const anchor = { seq: through, hash: last.hash };
    this.#database.prepare('DELETE FROM audit WHERE seq <= ?').run(through);
    this.#seal(anchor, this.#head);
    return { dropped: through - first + 1, done: () => void (this.#anchor = anchor) };
  }

  read(afterSeq: number, sinceMs: number, limit: number): readonly string[] {
    // By the index of times: a day of a log of years costs what the day has.
    const first = this.#database
      .prepare('SELECT MIN(seq) AS seq FROM audit INDEXED BY audit_time WHERE time >= ?')
      .get(sinceMs)?.['seq'];
    if (first === null || first === undefined) return [];
    return this.#database
      .prepare('SELECT line FROM audit WHERE seq > ? AND time >= ? ORDER BY seq LIMIT ?')
      .all(Math.max(afterSeq, Number(first) - 1), sinceMs, limit)
      .map((row) => String(row['line']));
  }

  async check(): Promise<{ readonly lines: number; readonly problems: readonly AuditProblem[] }> {
    const [anchor, head] = [this.#anchor, this.#head];
    const check = new ChainCheck(anchor);
    const rows = this.#database.prepare('SELECT seq, line FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?');
    for (let after = -1; ;) {
      const part = rows.all(after, head.seq, CHECK_ROWS);
      for (const row of part) check.take(String(row['line']));
      if (part.length < CHECK_ROWS) break;
      after = Number(part.at(-1)?.['seq']);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const problems = check.finish(head);
    const isPruned = this.#anchor.seq !== anchor.seq;
    return isPruned ? this.check() : { lines: check.lines, problems };
  }

  #textOf(seq: number): string | undefined {
    const row = this.#database.prepare('SELECT line FROM audit WHERE seq = ?').get(seq);
    return row === undefined ? undefined : String(row['line']);
  }

  #seal(anchor: AuditAnchor, head: AuditHead): void {
    const seal = sealOf(this.#options.key, anchor, head);
    this.#putEnds.run(anchor.seq, anchor.hash, head.seq, head.hash, seal);
  }

  /** Takes the sealed ends over; where they cannot be believed, the chain goes on behind the last line that is there. */
  #load(isFresh: boolean): string | undefined {
    const ends = this.#database.prepare('SELECT * FROM audit_ends WHERE id = 1').get();
    const last = this.#database.prepare('SELECT seq, line FROM audit ORDER BY seq DESC LIMIT 1').get();
    const lastSeq = Number(last?.['seq'] ?? 0);
    if (ends !== undefined) {
      this.#anchor = { seq: Number(ends['anchor_seq']), hash: String(ends['anchor_hash']) };
      this.#head = { seq: Number(ends['head_seq']), hash: String(ends['head_hash']) };
      if (isSeal(this.#options.key, this.#anchor, this.#head, String(ends['seal']))) {
        const lastHash = last === undefined ? this.#anchor.hash : parseLine(String(last['line']))?.hash;
        const isWhole = lastSeq === this.#head.seq && lastHash === this.#head.hash;
        // The next line must find its number free.
        if (lastSeq > this.#head.seq) this.#head = { seq: lastSeq, hash: this.#head.hash };
        return isWhole ? undefined : 'the last line is not the one that was sealed';
      }
    } else if (last === undefined) {
      return isFresh ? undefined : 'the log is gone';
    }
    this.#head = { seq: Math.max(lastSeq, this.#head.seq), hash: parseLine(String(last?.['line'] ?? ''))?.hash ?? '' };
    return 'the ends of the log are not sealed by this gateway';
  }
}
