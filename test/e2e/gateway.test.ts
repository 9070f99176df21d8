/** The public reaches published names, whole and both ways; everything else ends at the door. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { after, before, suite, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { WebSocket } from 'ws';
import { eventually, full } from './machine.ts';
import { downloadHash, startWebService, uploadBlock, type WebService } from './web-service.ts';
import { World } from './world.ts';

const BODY_BYTES = (full ? 10 * 1_024 : 64) * 2 ** 20;
const WEBSOCKETS = full ? 1_000 : 200;
const WARM_BYTES = 32 << 20;
/** What a long body may add to a process's memory over a short one. */
const FLAT_BYTES = 64 << 20;

const world = new World();
let web: WebService;
let web2: WebService;

before(async () => {
  web = await startWebService('web-1');
  web2 = await startWebService('web-1');
  await world.startGateway();
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true }, 'web-1': { tags: ['web'], expose: [`${web.port},public`, `${web2.port}`] } },
    services: {
      web: { on: ['tag:web'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' },
      secret: { on: ['tag:web'], port: 81, target: `127.0.0.1:${web2.port}`, protocol: 'http' },
    },
    publish: { shop: 'web' },
  });
  await eventually('shop is public', async () => (await world.gateway.browser.fetch('shop.localhost')).status === 200);
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
  await web2?.[Symbol.asyncDispose]();
});

suite('a published name', () => {
  test('GET, HEAD, trailers and early hints come through', async () => {
    const { browser } = world.gateway;
    const get = await browser.fetch('shop.localhost');
    assert.equal(get.text, 'hello from web-1\n');
    const head = await browser.fetch('shop.localhost', { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(head.text, '');
    const trailers = await browser.fetch('shop.localhost', { path: '/trailers', headers: { te: 'trailers' } });
    assert.equal(trailers.trailers['grpc-status'], '0');
    assert.equal((await browser.fetch('shop.localhost', { path: '/hints' })).hints, 1);
  });

  test('forwarding fields say who really asked', async () => {
    await world.gateway.browser.fetch('shop.localhost', {
      headers: {
        'x-forwarded-for': '203.0.113.9',
        forwarded: 'for=203.0.113.9',
        'x-real-ip': '203.0.113.9',
        'x-forwarded-host': 'evil.example',
        x_forwarded_for: '203.0.113.9',
        connection: 'x-forwarded-proto, keep-alive',
      },
    });
    const fields = web.lastFields.map((field) => field.toLowerCase());
    assert.equal(fields.includes('203.0.113.9'), false, fields.join(' '));
    assert.equal(fields[fields.indexOf('x-forwarded-for') + 1], '127.0.0.1');
    assert.equal(fields[fields.indexOf('x-forwarded-proto') + 1], 'https');
    assert.equal(fields[fields.indexOf('x-forwarded-host') + 1]?.startsWith('shop.localhost'), true);
  });

  test('a large upload and download are whole, at flat memory', async () => {
    const { browser, daemon } = world.gateway;
    const processes = [daemon, world.agent('web-1')];
    // One pass first, so that what is measured is the body and not windows, buffers and garbage of any first one.
    await upload(WARM_BYTES);
    await download(WARM_BYTES);
    const before = await Promise.all(processes.map((process) => process.residentBytes()));
    const peaks = [...before];
    const timer = setInterval(() => {
      processes.forEach((process, i) => {
        void process.residentBytes().then((bytes) => (peaks[i] = Math.max(peaks[i] ?? 0, bytes)));
      });
    }, 50);
    try {
      await upload(BODY_BYTES);
      await download(BODY_BYTES);
    } finally {
      clearInterval(timer);
    }
    peaks.forEach((peak, i) => {
      const grown = peak - (before[i] ?? 0);
      assert.ok(
        grown < FLAT_BYTES,
        `process ${i} grew by ${grown >> 20} MiB for bodies of ${BODY_BYTES / 2 ** 20} MiB`,
      );
    });

    async function upload(bytes: number): Promise<void> {
      const request = httpsRequest({
        ...browser.tls('shop.localhost'),
        method: 'POST',
        path: '/upload',
        headers: { host: 'shop.localhost', 'content-length': bytes },
      });
      const hash = createHash('sha256');
      const answered = once(request, 'response');
      for (let left = bytes; left > 0; left -= uploadBlock.length) {
        const part = left >= uploadBlock.length ? uploadBlock : uploadBlock.subarray(0, left);
        hash.update(part);
        if (!request.write(part)) await once(request, 'drain');
      }
      request.end();
      const [response] = await answered;
      let text = '';
      for await (const chunk of response.setEncoding('utf8')) text += chunk;
      assert.deepEqual(JSON.parse(text), { bytes, sha256: hash.digest('hex') });
    }

    async function download(bytes: number): Promise<void> {
      const { response } = await browser.open('shop.localhost', { path: `/download?bytes=${bytes}` });
      const hash = createHash('sha256');
      for await (const chunk of response as AsyncIterable<Buffer>) hash.update(chunk);
      assert.equal(hash.digest('hex'), downloadHash(bytes));
    }
  });

  test(`${WEBSOCKETS} WebSockets at once echo text and binary`, async () => {
    const { browser, port } = world.gateway;
    const sockets = await Promise.all(
      Array.from({ length: WEBSOCKETS }, async () => {
        const socket = new WebSocket(`wss://shop.localhost:${port}/ws`, {
          ...browser.tls('shop.localhost'),
          lookup: (_host: string, options: { all?: boolean }, done: (...args: unknown[]) => void) =>
            options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
          host: undefined,
        } as object);
        await once(socket, 'open');
        return socket;
      }),
    );
    await Promise.all(
      sockets.map(async (socket, i) => {
        socket.send(`message ${i}`);
        assert.equal(String((await once(socket, 'message'))[0]), `message ${i}`);
        socket.send(Buffer.alloc(2_000, i));
        assert.deepEqual((await once(socket, 'message'))[0], Buffer.alloc(2_000, i));
      }),
    );
    assert.equal(sockets.filter((socket) => socket.readyState === WebSocket.OPEN).length, WEBSOCKETS);
    await Promise.all(
      sockets.map(async (socket) => {
        socket.close(1000);
        await once(socket, 'close');
      }),
    );
  });

  test('server-sent events arrive one by one within 50 ms', async () => {
    const medians: number[] = [];
    // Again where this machine had other work to do just then.
    while (medians.length < 5 && !medians.some((ms) => ms < 50)) medians.push(await medianOfEvents(20));
    assert.ok(Math.min(...medians) < 50, `medians of 20 events: ${medians.join(', ')} ms`);
  });
});

/** Milliseconds from an event’s writing to its arrival. */
async function medianOfEvents(count: number): Promise<number> {
  const { response } = await world.gateway.browser.open('shop.localhost', { path: '/tick' });
  const delays: number[] = [];
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    delays.push(performance.now() - Number(/data: ([\d.]+)/.exec(chunk)?.[1]));
    if (delays.length === count) break;
  }
  return delays.toSorted((a, b) => a - b)[count / 2] ?? Infinity;
}

suite('everything else', () => {
  test('a service that was not published is not there', async () => {
    await assert.rejects(world.gateway.browser.fetch('secret.localhost'));
  });

  test('an unknown name ends the handshake', async () => {
    const socket = tlsConnect({ ...world.gateway.browser.tls('nobody.localhost') });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.match(error.code ?? error.message, /UNRECOGNIZED_NAME|ECONNRESET|ALERT/i);
  });

  test('a Host that the handshake did not name is 421', async () => {
    const answer = await world.gateway.browser.fetch('other.localhost', { servername: 'shop.localhost' });
    assert.equal(answer.status, 421);
  });

  test('an error page carries an id that is in the log', async () => {
    const answer = await world.gateway.browser.fetch('shop.localhost', {
      path: '/drop',
      headers: { accept: 'application/json' },
    });
    assert.equal(answer.status, 502);
    const body = JSON.parse(answer.text) as { error: { code: string }; id?: string; requestId?: string };
    const id = body.requestId ?? body.id ?? '';
    assert.ok(id.length > 4, answer.text);
    await eventually('the id is in the log', async () => world.gateway.daemon.output.includes(id));
  });

  test('plain http redirects to https', async () => {
    const status = await world.gateway.machine.ok(['gateway', 'status']);
    const request = httpRequest({
      host: '127.0.0.1',
      port: Number(status.json['httpPort']),
      headers: { host: 'shop.localhost' },
      path: '/x?y=1',
    });
    request.end();
    const [response] = await once(request, 'response');
    assert.equal(response.statusCode, 308);
    assert.equal(response.headers.location, `https://shop.localhost:${world.gateway.port}/x?y=1`);
  });

  test('a withdrawn name is gone, and comes back when published again', async () => {
    await world.apply({ publish: {} });
    await eventually('shop is withdrawn', async () => {
      const answer = await world.gateway.browser.fetch('shop.localhost').catch(() => ({ status: 0 }));
      return answer.status !== 200;
    });
    await world.apply({ publish: { shop: 'web' } });
    await eventually('shop is back', async () => (await world.gateway.browser.fetch('shop.localhost')).status === 200);
  });

  test('names survive the gateway, members survive its restart', async () => {
    await world.gateway.daemon.kill('SIGKILL');
    await world.restartGateway();
    await eventually(
      'shop is back',
      async () => (await world.gateway.browser.fetch('shop.localhost')).status === 200,
      30_000,
    );
  });
});
