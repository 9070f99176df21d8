/** The directory that this machine keeps as an anchor. */
import { isMoatError } from '@moat/core';
import { parseSignedEntry, type SignedEntry } from '@moat/contract';
import type { DirectoryStore } from '@moat/overlay';
import type { Database } from './database.ts';

export function directoryStore(db: Database): DirectoryStore {
  return {
    load: () => db.all('SELECT entry FROM directory').flatMap((row) => readable(String(row['entry']))),
    save: (subject, signed) =>
      db.write(() =>
        db.run('INSERT OR REPLACE INTO directory (subject, entry) VALUES (?, ?)', subject, JSON.stringify(signed)),
      ),
    delete: (subject) => db.write(() => db.run('DELETE FROM directory WHERE subject = ?', subject)),
  };
}

/** What an older version of this program wrote and this one does not know is left out: it is announced again. */
function readable(text: string): SignedEntry[] {
  try {
    return [parseSignedEntry(text)];
  } catch (error) {
    if (isMoatError(error)) return [];
    throw error;
  }
}
