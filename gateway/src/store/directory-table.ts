/** The public directory that this gateway keeps as an anchor, in its database. */
import type { DatabaseSync } from 'node:sqlite';
import { readEntries, type DirectoryStore } from '@moat/overlay';

export const DIRECTORY_TABLE = `CREATE TABLE directory (
     subject TEXT PRIMARY KEY, entry TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;`;

/** @param guarded turns what the database throws into a coded error. */
export function directoryTable(database: DatabaseSync, guarded: <T>(work: () => T) => T): DirectoryStore {
  const put = database.prepare('INSERT OR REPLACE INTO directory (subject, entry) VALUES (?, ?)');
  const drop = database.prepare('DELETE FROM directory WHERE subject = ?');
  return {
    load: () =>
      readEntries(
        guarded(() => database.prepare('SELECT entry FROM directory').all()).map((row) => String(row['entry'])),
      ),
    save: (subject, signed) => void guarded(() => put.run(subject, JSON.stringify(signed))),
    delete: (subject) => void guarded(() => drop.run(subject)),
  };
}
