/** The public directory that this gateway keeps as an anchor, in its database. */
import type { DatabaseSync } from 'node:sqlite';
import { isMoatError } from '@moat/core';
import { parseSignedEntry, type SignedEntry } from '@moat/contract';
import type { DirectoryStore } from '@moat/overlay';

export const DIRECTORY_TABLE = `CREATE TABLE directory (
     subject TEXT PRIMARY KEY, entry TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;`;

/** @param guarded turns what the database throws into a coded error. */
export function directoryTable(database: DatabaseSync, guarded: <T>(work: () => T) => T): DirectoryStore {
  const put = database.prepare('INSERT OR REPLACE INTO directory (subject, entry) VALUES (?, ?)');
  const drop = database.prepare('DELETE FROM directory WHERE subject = ?');
  return {
    load: () =>
      guarded(() => database.prepare('SELECT entry FROM directory').all()).flatMap((row) =>
        readable(String(row['entry'])),
      ),
    save: (subject, signed) => void guarded(() => put.run(subject, JSON.stringify(signed))),
    delete: (subject) => void guarded(() => drop.run(subject)),
  };
}

/** What an older version wrote and this one does not know is left out: it is announced again. */
function readable(text: string): SignedEntry[] {
  try {
    return [parseSignedEntry(text)];
  } catch (error) {
    if (isMoatError(error)) return [];
    throw error;
  }
}
