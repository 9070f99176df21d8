/**
 * The database's process: `node src/db.ts`.
 *   DB_FILE  where entries are kept   (default ./guestbook.journal)
 *   PORT     on 127.0.0.1             (default 7000; 0 = any free one, printed)
 */
import { openDatabase } from './database.ts';

const database = await openDatabase({
  file: process.env['DB_FILE'] ?? 'guestbook.journal',
  host: '127.0.0.1',
  port: Number(process.env['PORT'] ?? 7000),
});
console.log(JSON.stringify({ listening: `127.0.0.1:${database.port}` }));

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void database[Symbol.asyncDispose]());
}
