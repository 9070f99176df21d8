/** `moat dev`, as `npm start` runs it: the guestbook with its page, live updates and database, each process its own. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { chromium } from 'playwright-core';
import { WebSocket } from 'ws';
import { freePort } from '@moat/testkit';
import { Browser } from './browser.ts';
import { Machine, eventually, type Daemon } from './machine.ts';

const HOST = 'guestbook.localhost';
const CHROMIUM = '/usr/bin/chromium';

let machine: Machine;
let dev: Daemon;
let browser: Browser;
let port = 0;

before(async () => {
  // As somebody has it who never set MOAT_HOME: other commands then find the running example by themselves.
  machine = await Machine.create('dev', { env: { MOAT_HOME: undefined } });
  port = await freePort();
  dev = machine.spawn(['dev', '--port', String(port)]);
  const ca = await eventually(
    'moat dev is ready',
    async () => {
      if (!dev.running) throw new Error(`moat dev ended:\n${dev.output}`);
      return dev.output.includes('Ctrl-C stops everything') && /--cacert (\S+)/.exec(dev.output)?.[1];
    },
    60_000,
  );
  browser = new Browser({ port, ca: readFileSync(ca, 'utf8') });
});

after(() => machine[Symbol.asyncDispose]());

function sign(name: string, text: string) {
  return browser.fetch(HOST, {
    method: 'POST',
    path: '/entries',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ name, text }),
  });
}

suite('the guestbook', () => {
  test('an entry is stored by the database and told to the open page at once', async () => {
    const events = await browser.open(HOST, { path: '/events' });
    events.response.setEncoding('utf8');
    const told = (async () => {
      for await (const chunk of events.response as AsyncIterable<string>) if (chunk.includes('Ada')) return chunk;
      return '';
    })();
    const answer = await sign('Ada', 'first light <script>');
    assert.equal(answer.status, 201, answer.text);
    assert.match(await told, /first light/);
    const page = await browser.fetch(HOST);
    assert.match(page.text, /first light &lt;script&gt;/);
  });

  test('the WebSocket echoes', async () => {
    const socket = new WebSocket(`wss://${HOST}:${port}/live`, {
      ...browser.tls(HOST),
      host: undefined,
      lookup: (_host: string, options: { all?: boolean }, done: (...args: unknown[]) => void) =>
        options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
    } as object);
    await once(socket, 'open');
    const echoed = new Promise<string>((resolve) => {
      socket.on('message', (data) => {
        const text = (data as Buffer).toString();
        if (text.includes('echo')) resolve(text);
      });
    });
    socket.send(JSON.stringify({ type: 'echo', text: 'across' }));
    assert.match(await echoed, /across/);
    socket.terminate();
  });

  test('the other way round is refused, and says by which line', async () => {
    const denied = await machine.run(['explain', 'db', 'web']);
    assert.equal(denied.json['code'], 'GRANT_DENIED', denied.stdout + denied.stderr);
  });

  const skip = existsSync(CHROMIUM) ? false : 'chromium is not installed';
  test('a real browser shows the page, signs it, and sees the entry without a reload', { skip }, async () => {
    const chrome = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking'],
    });
    try {
      const page = await chrome.newPage({ ignoreHTTPSErrors: true });
      await page.goto(`https://${HOST}:${port}/`);
      await page.getByText('first light').first().waitFor();
      await sign('Grace', 'written elsewhere');
      await page.getByText('written elsewhere').first().waitFor();
    } finally {
      await chrome.close();
    }
  });

  test('Ctrl-C stops every process it started', async () => {
    const started = descendants(dev.pid);
    assert.ok(started.length >= 5, `${started.length} processes`);
    await dev.kill('SIGINT');
    assert.equal(dev.child.exitCode, 0);
    assert.deepEqual(started.filter(isAlive), []);
  });
});

function descendants(root: number): number[] {
  const parents = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => [Number(pid), parentOf(pid)] as const);
  const found = new Set([root]);
  for (let size = 0; size !== found.size;) {
    size = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  found.delete(root);
  return [...found];
}

function parentOf(pid: string): number {
  try {
    return Number(
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')[1],
    );
  } catch {
    return 0;
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
