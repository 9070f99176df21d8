import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { DatabaseClient } from '../src/database-client.ts';
import { openDatabase, type Database } from '../src/database.ts';
import type { Entry } from '../src/entry.ts';
import { parseRequest } from '../src/protocol.ts';

async function startDatabase(): Promise<{ database: Database; file: string } & AsyncDisposable> {
  const directory = mkdtempSync(join(tmpdir(), 'guestbook-'));
  const file = join(directory, 'book.journal');
  const database = await openDatabase({ file, host: '127.0.0.1', port: 0 });
  return {
    database,
    file,
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A client and a way to wait for the entries it sees. */
function startClient(
  port: number,
): { client: DatabaseClient; seen: Entry[]; sees(count: number): Promise<void> } & Disposable {
  const seen: Entry[] = [];
  let wake = (): void => undefined;
  const client = new DatabaseClient({
    host: '127.0.0.1',
    port,
    onEntry: (entry) => {
      seen.push(entry);
      wake();
    },
  });
  return {
    client,
    seen,
    async sees(count) {
      while (seen.length < count) await new Promise<void>((resolve) => (wake = resolve));
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}

test('an entry is stored, listed newest first and told to watchers', async () => {
  await using running = await startDatabase();
  using writer = startClient(running.database.port);
  using watcher = startClient(running.database.port);
  await writer.client.append({ name: 'Ana', text: 'one' }, 'a');
  await writer.client.append({ name: 'Ben', text: 'two' }, 'b');
  await watcher.sees(2);
  assert.deepEqual(
    watcher.seen.map((entry) => entry.text),
    ['one', 'two'],
  );
  assert.deepEqual(
    (await watcher.client.newest(50)).map((entry) => entry.number),
    [2, 1],
  );
});

test('a retry with the same key stores one entry', async () => {
  await using running = await startDatabase();
  using writer = startClient(running.database.port);
  const [first, second] = await Promise.all([
    writer.client.append({ name: 'Ana', text: 'once' }, 'same'),
    writer.client.append({ name: 'Ana', text: 'once' }, 'same'),
  ]);
  assert.deepEqual(first, second);
  assert.equal((await writer.client.newest(50)).length, 1);
});

/** Forwards to `port` until `cut`, which drops what runs. */
async function startCuttable(port: number): Promise<{ port: number; cut(): void } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((inbound) => {
    const outbound = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [inbound, outbound],
      [outbound, inbound],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined).on('close', () => to.destroy());
      from.pipe(to);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  return {
    port: (server.address() as { port: number }).port,
    cut,
    async [Symbol.asyncDispose]() {
      server.close();
      cut();
      await once(server, 'close');
    },
  };
}

test('a lost connection is redialed: requests under way are answered, no entry is missed or told twice', async () => {
  await using running = await startDatabase();
  await using path = await startCuttable(running.database.port);
  using writer = startClient(running.database.port);
  using watcher = startClient(path.port);
  for (let i = 1; i <= 20; i++) {
    const write = watcher.client.append({ name: 'Ana', text: `through the path ${i}` }, `p${i}`);
    if (i % 5 === 0) path.cut();
    await write;
    await writer.client.append({ name: 'Ben', text: `beside it ${i}` }, `w${i}`);
  }
  await watcher.sees(40);
  assert.deepEqual(
    watcher.seen.map((entry) => entry.number),
    Array.from({ length: 40 }, (_, i) => i + 1),
  );
});

test('without a database a request fails with DATABASE_AWAY within its deadline', async () => {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  using client = new DatabaseClient({ host: '127.0.0.1', port, timeoutMs: 50, onEntry: () => undefined });
  await assert.rejects(client.newest(1), { code: 'DATABASE_AWAY' });
  server.close();
});

test('a wrong line gets its code and leaves the connection usable; an endless line ends it', async () => {
  await using running = await startDatabase();
  const socket = connect(running.database.port, '127.0.0.1').setEncoding('utf8');
  socket.on('error', () => undefined);
  socket.write('{"id":1,"op":"append","key":"k","name":"","text":"x"}\n');
  assert.equal(JSON.parse(String((await once(socket, 'data'))[0])).error.code, 'ENTRY_INVALID');
  socket.write('{"id":2,"op":"drop"}\n');
  assert.equal(JSON.parse(String((await once(socket, 'data'))[0])).error.code, 'REQUEST_INVALID');
  socket.write('x'.repeat(9000));
  await once(socket, 'close');
});

test('any line is a request or a coded error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      try {
        parseRequest(line);
      } catch (error) {
        assert.match((error as { code: string }).code, /^(REQUEST|ENTRY)_INVALID$/);
      }
    }),
  );
});
