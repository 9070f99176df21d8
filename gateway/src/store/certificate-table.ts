/**
 * What certificates of authorities need, in the gateway's database: accounts, orders, certificates, failures, and what
 * was spent. Keys come in sealed (`certificates/sealed-store.ts`); nothing here opens them.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type {
  AccountRecord,
  CertificateChange,
  CertificateRecord,
  CertificateState,
  FailureRecord,
  OrderRecord,
  SpentRecord,
} from '@moat/acme';

export const CERTIFICATE_TABLES = `CREATE TABLE certificate_records (
     kind TEXT NOT NULL, id TEXT NOT NULL, directory TEXT NOT NULL, record TEXT NOT NULL,
     PRIMARY KEY (kind, id, directory)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE certificate_spent (
     directory TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL
   ) STRICT;`;

type Kind = 'account' | 'order' | 'certificate' | 'failure';

export class CertificateTable {
  readonly #database: DatabaseSync;
  readonly #put: StatementSync;
  readonly #remove: StatementSync;
  readonly #removeAll: StatementSync;
  readonly #spend: StatementSync;
  readonly #forgetSpent: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#put = database.prepare(
      `INSERT INTO certificate_records (kind, id, directory, record) VALUES (?, ?, ?, ?)
       ON CONFLICT (kind, id, directory) DO UPDATE SET record = excluded.record`,
    );
    this.#remove = database.prepare('DELETE FROM certificate_records WHERE kind = ? AND id = ? AND directory = ?');
    this.#removeAll = database.prepare('DELETE FROM certificate_records WHERE kind = ? AND id = ?');
    this.#spend = database.prepare('INSERT INTO certificate_spent (directory, kind, id, at) VALUES (?, ?, ?, ?)');
    this.#forgetSpent = database.prepare('DELETE FROM certificate_spent WHERE at < ?');
  }

  state(): CertificateState {
    return {
      accounts: this.#records<AccountRecord>('account'),
      orders: this.#records<OrderRecord>('order'),
      certificates: this.#records<CertificateRecord>('certificate'),
      failures: this.#records<FailureRecord>('failure'),
      spent: this.#database
        .prepare('SELECT directory, kind, id, at FROM certificate_spent')
        .all()
        .map((row): SpentRecord => ({
          directory: String(row['directory']),
          kind: row['kind'] === 'order' ? 'order' : 'certificate',
          id: String(row['id']),
          atMs: Number(row['at']),
        })),
    };
  }

  /** Inside the caller's transaction. */
  write(change: CertificateChange): void {
    const { account, order, certificate, failure, endedOrder, healed, spentBeforeMs } = change;
    for (const id of change.forgotten ?? []) {
      for (const kind of ['order', 'certificate', 'failure'] as const) this.#removeAll.run(kind, id);
    }
    if (endedOrder) this.#remove.run('order', endedOrder.id, endedOrder.directory);
    if (healed !== undefined) this.#removeAll.run('failure', healed);
    if (account) this.#put.run('account', '', account.directory, JSON.stringify(account));
    if (order) this.#put.run('order', order.id, order.directory, JSON.stringify(order));
    // One of each id, whoever issued it.
    if (certificate) this.#put.run('certificate', certificate.id, '', JSON.stringify(certificate));
    if (failure) this.#put.run('failure', failure.id, failure.directory, JSON.stringify(failure));
    if (spentBeforeMs !== undefined) this.#forgetSpent.run(spentBeforeMs);
    for (const { directory, kind, id, atMs } of change.spent ?? []) this.#spend.run(directory, kind, id, atMs);
  }

  #records<T>(kind: Kind): T[] {
    return this.#database
      .prepare('SELECT record FROM certificate_records WHERE kind = ?')
      .all(kind)
      .map((row) => JSON.parse(String(row['record'])) as T);
  }
}
