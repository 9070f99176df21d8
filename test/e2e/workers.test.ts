/** A gateway of several processes: all serve, none is missed, and whoever leaves does so without a client noticing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createGatewayClient, type GatewayClient, type GatewayWorker } from '@moat/admin-api';
import { eventually, full, within } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const HOST = 'shop.localhost';
const world = new World();
let web: WebService;
let gateway: GatewayClient;

before(async () => {
  web = await startWebService('web-1');
  await world.startGateway('open', { workers: 2 });
  gateway = createGatewayClient({ socketPath: world.gateway.machine.path('state', 'gateway', 'gateway.sock') });
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true }, 'web-1': { tags: ['web'], expose: [`${web.port},public`] } },
    services: { web: { on: ['tag:web'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
    publish: { shop: 'web' },
  });
  await allLinked();
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

/** The workers that accept clients, once each of them has a link to the member. */
function allLinked(): Promise<readonly GatewayWorker[]> {
  return eventually(
    'every worker has a link',
    async () => {
      const workers = (await gateway.status()).workers.filter(({ state }) => state === 'serving');
      return workers.length === 2 && workers.every(({ links }) => links > 0) && workers;
    },
    60_000,
  );
}

/** What one client saw. */
interface Seen {
  answered: number;
  readonly failed: string[];
}

/** Clients that ask again and again, each on a connection of its own that it keeps or makes anew. */
class Clients {
  readonly seen: Seen[] = [];
  #stopping = false;
  readonly #running: Promise<void>[] = [];

  constructor(count: number, keepAlive: boolean) {
    for (let i = 0; i < count; i++) {
      const seen: Seen = { answered: 0, failed: [] };
      this.seen.push(seen);
      this.#running.push(this.#run(seen, keepAlive));
    }
  }

  async #run(seen: Seen, keepAlive: boolean): Promise<void> {
    const agent = keepAlive ? new Agent({ keepAlive, maxSockets: 1 }) : undefined;
    while (!this.#stopping) {
      try {
        const { status, text } = await world.gateway.browser.fetch(HOST, agent === undefined ? {} : { agent });
        if (status === 200 && text === 'hello from web-1\n') seen.answered += 1;
        else seen.failed.push(String(status));
      } catch (error) {
        seen.failed.push(String((error as NodeJS.ErrnoException).code ?? error));
        await delay(5);
      }
    }
    agent?.destroy();
  }

  /** All have answered at least so many more. */
  async progress(answers: number): Promise<void> {
    const before = this.seen.map(({ answered }) => answered);
    await eventually('every client gets answers', async () =>
      Promise.resolve(this.seen.every(({ answered }, i) => answered >= (before[i] ?? 0) + answers)),
    );
  }

  get failures(): string[] {
    return this.seen.flatMap(({ failed }) => failed);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
  }
}

/** A request whose answer goes on until it is cut; resolves with how it ended. */
async function longAnswer(): Promise<{ readonly ended: Promise<'cut' | 'whole'>; readonly stop: () => void }> {
  const request = httpsRequest({
    ...world.gateway.browser.tls(HOST),
    path: '/tick',
    headers: { host: HOST },
    agent: false,
  });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const ended = new Promise<'cut' | 'whole'>((resolve) => {
    response.on('close', () => resolve(response.complete ? 'whole' : 'cut'));
    response.on('error', () => undefined);
  });
  response.resume();
  return { ended, stop: () => request.destroy() };
}

suite('two workers', () => {
  test('both serve, each over a link of its own', async () => {
    const workers = await allLinked();
    const before = new Map(workers.map(({ pid, requestsTotal }) => [pid, requestsTotal]));
    const clients = new Clients(16, false);
    await clients.progress(3);
    await clients.stop();
    assert.deepEqual(clients.failures, []);
    for (const { pid, requestsTotal, pipedLinks } of (await gateway.status()).workers) {
      assert.ok(requestsTotal > (before.get(pid) ?? 0), `worker ${pid} served nothing`);
      assert.equal(pipedLinks, 0);
    }
    const { links, requestsTotal } = await gateway.status();
    assert.equal(links >= 2, true);
    assert.ok(requestsTotal >= 48);
    const shown = await world.gateway.machine.ok(['gateway', 'status']);
    assert.equal((shown.json['workers'] as unknown[]).length, 2);
  });

  test('one that is killed costs only its own streams, and is replaced while nobody is refused', async (t) => {
    const workers = await allLinked();
    const victim = workers[0] ?? assert.fail('no worker');
    // So many that the system gives each worker some.
    const streams = await Promise.all(Array.from({ length: 32 }, () => longAnswer()));
    const kept = new Clients(8, true);
    const fresh = new Clients(4, false);
    await kept.progress(2);
    process.kill(victim.pid, 'SIGKILL');
    const killedAt = Date.now();
    const cut = new Set<number>();
    for (const [i, { ended }] of streams.entries()) void ended.then(() => cut.add(i));
    const replaced = await eventually(
      'another worker',
      async () => {
        const now = await allLinked();
        return now.every(({ pid }) => pid !== victim.pid) && now;
      },
      within(10_000),
    );
    const tookMs = Date.now() - killedAt;
    await kept.progress(5);
    await fresh.progress(5);
    await Promise.all([kept.stop(), fresh.stop()]);
    // Every other stream of the long ones goes on.
    assert.ok(cut.size > 0 && cut.size < streams.length, `${cut.size} of ${streams.length} streams were cut`);
    assert.equal(
      replaced.reduce((sum, { restarts }) => sum + restarts, 0),
      1,
    );
    // Connections of the dead one broke, once each; nobody was refused, and nobody got an answer that is none.
    for (const { failed } of kept.seen) assert.ok(failed.length <= 1, failed.join(' '));
    const codes = new Set([...kept.failures, ...fresh.failures]);
    for (const code of codes) assert.ok(['ECONNRESET', 'EPIPE'].includes(code), [...codes].join(' '));
    t.diagnostic(`another worker served after ${tookMs} ms`);
    assert.ok(tookMs < within(10_000), `${tookMs} ms`);
    for (const { stop } of streams) stop();
  });

  test('new ones take over one by one: no connection refused, no request failed, running answers end by themselves', async (t) => {
    const before = await allLinked();
    const stream = await longAnswer();
    const kept = new Clients(8, true);
    const fresh = new Clients(4, false);
    await fresh.progress(2);
    const beganAt = Date.now();
    await gateway.restartWorkers();
    t.diagnostic(`both were replaced after ${Date.now() - beganAt} ms`);
    const serving = await allLinked();
    assert.equal(
      serving.some(({ pid }) => before.some((old) => old.pid === pid)),
      false,
    );
    await kept.progress(5);
    await fresh.progress(5);
    await Promise.all([kept.stop(), fresh.stop()]);
    assert.deepEqual([...kept.failures, ...fresh.failures], []);
    const leaving = (await gateway.status()).workers.filter(({ state }) => state === 'leaving');
    assert.equal(leaving.length, 1, 'the worker with a running answer stays');
    const again = await world.gateway.machine.run(['gateway', 'restart-workers']);
    assert.equal(again.json['code'], 'RESTART_RUNNING');
    stream.stop();
    await eventually('it left', async () => (await gateway.status()).workers.length === 2);
  });

  test('what is withdrawn is gone at every worker before the command returns', async () => {
    const streams = await Promise.all(Array.from({ length: 12 }, () => longAnswer()));
    const { routes } = await gateway.routes();
    const deployment = routes[0]?.deployment ?? assert.fail('no route');
    await world.gateway.machine.ok(['gateway', 'deny', deployment]);
    const { browser } = world.gateway;
    const answers = await Promise.all(Array.from({ length: 24 }, () => browser.fetch(HOST)));
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([404]));
    assert.deepEqual(new Set(await Promise.all(streams.map(({ ended }) => ended))), new Set(['cut']));
    assert.equal((await gateway.status()).links, 0);
    await world.gateway.machine.ok(['gateway', 'allow', deployment]);
    await allLinked();
    assert.equal((await browser.fetch(HOST)).status, 200);
  });

  test('one that stands still is ended before a denial counts as done', { skip: !full && 'takes 12 s' }, async () => {
    const [victim] = await allLinked();
    assert.ok(victim);
    const { routes } = await gateway.routes();
    const deployment = routes[0]?.deployment ?? assert.fail('no route');
    process.kill(victim.pid, 'SIGSTOP');
    await world.gateway.machine.ok(['gateway', 'deny', deployment]);
    assert.equal(isAlive(victim.pid), false);
    await world.gateway.machine.ok(['gateway', 'allow', deployment]);
    await allLinked();
  });

  test('one that dies while others take over is replaced all the same', async () => {
    const before = await allLinked();
    const restarting = gateway.restartWorkers();
    process.kill(before[1]?.pid ?? 0, 'SIGKILL');
    await restarting.catch(() => undefined);
    const after = await allLinked();
    assert.equal(
      after.some(({ pid }) => pid === before[1]?.pid),
      false,
    );
    assert.equal((await world.gateway.browser.fetch(HOST)).status, 200);
    await eventually('no worker is left over', async () => (await gateway.status()).workers.length === 2);
  });

  test('the gateway stops with all of them', async () => {
    const pids = (await gateway.status()).workers.map(({ pid }) => pid);
    await world.gateway.daemon.kill('SIGTERM');
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    await world.restartGateway();
    // Control dies without a word: nobody tells the workers what is withdrawn, so they go too.
    const orphans = (await gateway.status()).workers.map(({ pid }) => pid);
    await world.gateway.daemon.kill('SIGKILL');
    await eventually('the workers are gone', async () => Promise.resolve(orphans.every((pid) => !isAlive(pid))));
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
