/**
 * The web page's process: `moat run -- node src/web.ts`.
 *   PORT                         on 127.0.0.1                  (default 3000; 0 = any free one, printed)
 *   MOAT_DB_HOST, MOAT_DB_PORT   where the database is reached (default db.guestbook.internal, 7000)
 */
import { Website } from './website.ts';

const website = new Website({
  host: '127.0.0.1',
  port: Number(process.env['PORT'] ?? 3000),
  database: {
    host: process.env['MOAT_DB_HOST'] ?? 'db.guestbook.internal',
    port: Number(process.env['MOAT_DB_PORT'] ?? 7000),
  },
});
await website.listen();
console.log(JSON.stringify({ listening: `127.0.0.1:${website.port}` }));

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void website[Symbol.asyncDispose]());
}
