import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { openDatabase } from '../src/database.ts';
import { Website } from '../src/website.ts';

async function startGuestbook(): Promise<{ url: string } & AsyncDisposable> {
  const directory = mkdtempSync(join(tmpdir(), 'guestbook-'));
  const database = await openDatabase({ file: join(directory, 'book.journal'), host: '127.0.0.1', port: 0 });
  const website = new Website({ host: '127.0.0.1', port: 0, database: { host: '127.0.0.1', port: database.port } });
  await website.listen();
  return {
    url: `http://127.0.0.1:${website.port}`,
    async [Symbol.asyncDispose]() {
      await website[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function sign(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/entries`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

test('what people write is escaped', async () => {
  await using book = await startGuestbook();
  const form = new URLSearchParams({ name: '"><b>', text: '<script>alert(1)</script>' });
  const posted = await fetch(`${book.url}/entries`, { method: 'POST', body: form, redirect: 'manual' });
  assert.equal(posted.status, 303);
  const page = await fetch(book.url);
  const html = await page.text();
  assert.match(page.headers.get('content-security-policy') ?? '', /script-src 'self'/);
  assert.ok(html.includes('&lt;script&gt;alert(1)&lt;/script&gt;'));
  assert.ok(html.includes('&quot;&gt;&lt;b&gt;'));
  assert.ok(!html.includes('<script>alert'));
});

test('input has bounds and each refusal its status and code', async () => {
  await using book = await startGuestbook();
  const cases: readonly [unknown, number, string][] = [
    [{ name: 'Ana' }, 400, 'ENTRY_INVALID'],
    [{ name: 'Ana', text: 'x'.repeat(501) }, 400, 'ENTRY_INVALID'],
    [{ name: 'Ana', text: 'x'.repeat(9000) }, 413, 'REQUEST_TOO_LARGE'],
  ];
  for (const [body, status, code] of cases) {
    const answer = await sign(book.url, body);
    assert.equal(answer.status, status);
    assert.equal(((await answer.json()) as { error: { code: string } }).error.code, code);
  }
  assert.equal((await sign(book.url, { name: 'Eve', text: 'hi' }, { 'sec-fetch-site': 'cross-site' })).status, 403);
  assert.equal((await fetch(`${book.url}/nothing`)).status, 404);
});

test('a new entry reaches an open page by server-sent events', async () => {
  await using book = await startGuestbook();
  const stop = new AbortController();
  const events = await fetch(`${book.url}/events`, { signal: stop.signal });
  assert.equal(events.headers.get('content-type'), 'text/event-stream');
  assert.equal((await sign(book.url, { name: 'Ana', text: 'live' })).status, 201);
  let text = '';
  for await (const chunk of events.body ?? []) {
    text += Buffer.from(chunk).toString();
    if (text.includes('"text":"live"')) break;
  }
  assert.match(text, /event: entry\nid: 1\ndata: /);
  stop.abort();
});

/** The messages of one WebSocket, waited for one by one. */
function open(
  url: string,
  origin?: string,
): { socket: WebSocket; next(type: string): Promise<Record<string, unknown>> } {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, origin === undefined ? {} : { origin });
  const messages: Record<string, unknown>[] = [];
  let wake = (): void => undefined;
  socket.on('message', (data: Buffer) => {
    messages.push(JSON.parse(data.toString()) as Record<string, unknown>);
    wake();
  });
  return {
    socket,
    async next(type) {
      for (;;) {
        const found = messages.findIndex((message) => message['type'] === type);
        if (found >= 0) return messages.splice(found, 1)[0] ?? {};
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

test('a WebSocket tells presence, waves and echoes', async () => {
  await using book = await startGuestbook();
  const ana = open(book.url);
  assert.deepEqual(await ana.next('reading'), { type: 'reading', count: 1 });
  const ben = open(book.url, book.url);
  assert.deepEqual(await ana.next('reading'), { type: 'reading', count: 2 });
  ben.socket.send('{"type":"wave"}');
  assert.deepEqual(await ana.next('wave'), { type: 'wave' });
  const text = 'é'.repeat(1000);
  ana.socket.send(JSON.stringify({ type: 'echo', text }));
  assert.equal((await ana.next('echo'))['text'], text);
  ana.socket.send('{"type":"ec', { fin: false });
  ana.socket.ping('x');
  ana.socket.send('ho","text":"in parts"}', { fin: true });
  assert.equal((await ana.next('echo'))['text'], 'in parts');
  ben.socket.close();
  assert.deepEqual(await ana.next('reading'), { type: 'reading', count: 1 });
  ana.socket.close();
  await once(ana.socket, 'close');
});

test('a WebSocket that breaks the rules is closed with the matching code', async () => {
  await using book = await startGuestbook();
  const cases: readonly [(socket: WebSocket) => void, number][] = [
    [(socket) => socket.send('x'.repeat(5000)), 1009],
    [(socket) => socket.send(Buffer.from('binary')), 1003],
    [(socket) => socket.send(Buffer.from([0xff, 0xfe]), { binary: false }), 1007],
  ];
  for (const [misbehave, code] of cases) {
    const { socket } = open(book.url);
    await once(socket, 'open');
    misbehave(socket);
    assert.equal((await once(socket, 'close'))[0], code);
  }
  const foreign = open(book.url, 'https://evil.example');
  assert.match(String((await once(foreign.socket, 'error'))[0]), /400/);
});

test('without its database the page says so and keeps its form', async () => {
  const website = new Website({ host: '127.0.0.1', port: 0, database: { host: '127.0.0.1', port: 1, timeoutMs: 50 } });
  await website.listen();
  const page = await fetch(`http://127.0.0.1:${website.port}/`);
  assert.equal(page.status, 503);
  assert.match(await page.text(), /database is away[^]*<form/);
  await website[Symbol.asyncDispose]();
});
