/** The directory that this machine keeps as an anchor. */
import { readEntries, type DirectoryStore } from '@moat/overlay';
import type { Database } from './database.ts';

export function directoryStore(db: Database): DirectoryStore {
  return {
    load: () => readEntries(db.all('SELECT entry FROM directory').map((row) => String(row['entry']))),
    save: (subject, signed) =>
      db.write(() =>
        db.run('INSERT OR REPLACE INTO directory (subject, entry) VALUES (?, ?)', subject, JSON.stringify(signed)),
      ),
    delete: (subject) => db.write(() => db.run('DELETE FROM directory WHERE subject = ?', subject)),
  };
}
