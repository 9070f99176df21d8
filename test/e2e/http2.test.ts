/** HTTP/2 as programs of others speak it: curl, h2load, a browser; through gateway, link and member. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { eventually, full } from './machine.ts';
import { downloadHash, startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const run = promisify(execFile);
const HOST = 'shop.localhost';
const CHROMIUM = '/usr/bin/chromium';
const BODY_BYTES = full ? 1 << 30 : 32 << 20;
const REQUESTS = full ? 200_000 : 5_000;

function without(program: string): string | false {
  return existsSync(program) ? false : `${program} is not installed`;
}

suite('HTTP/2', () => {
  const world = new World();
  let web: WebService;
  let caFile: string;

  before(async () => {
    web = await startWebService('web-1');
    await world.startGateway();
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true }, 'web-1': { tags: ['web'], expose: [`${web.port},public`] } },
      services: { web: { on: ['tag:web'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
      publish: { shop: 'web' },
    });
    const { browser, machine } = world.gateway;
    await eventually('shop is public', async () => (await browser.fetch(HOST)).status === 200);
    caFile = await machine.write('ca.pem', browser.tls(HOST).ca);
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    await web?.[Symbol.asyncDispose]();
  });

  function url(path: string): string {
    return `https://${HOST}:${world.gateway.port}${path}`;
  }

  async function curl(...flags: string[]): Promise<string> {
    const resolve = `${HOST}:${world.gateway.port}:127.0.0.1`;
    const { stdout } = await run(
      'curl',
      ['-sS', '--max-time', '20', '--cacert', caFile, '--resolve', resolve, ...flags],
      {
        encoding: 'latin1',
        maxBuffer: 4 << 20,
      },
    );
    return stdout;
  }

  async function session(): Promise<ClientHttp2Session> {
    const connected = connectHttp2(`https://${HOST}`, world.gateway.browser.tls(HOST));
    connected.on('error', () => undefined);
    await once(connected, 'connect');
    return connected;
  }

  suite('curl', { skip: without('/usr/bin/curl') }, () => {
    for (const [flag, version] of [
      ['--http2', '2'],
      ['--http1.1', '1.1'],
    ] as const) {
      test(`${flag}: a page, an upload, early hints, trailers`, async () => {
        const write = ['-w', '\n%{http_version} %{http_code}'];
        assert.equal(await curl(flag, ...write, url('/')), `hello from web-1\n\n${version} 200`);
        const upload = await curl(flag, ...write, '--data-binary', 'a'.repeat(100_000), url('/upload'));
        assert.match(upload, new RegExp(`"bytes":100000,.*\\n${version.replace('.', '\\.')} 200$`));
        const hinted = await curl(flag, '-i', url('/hints'));
        assert.match(hinted, /^HTTP\/\S+ 103[\s\S]*rel=preload[\s\S]*^HTTP\/\S+ 200/m);
        assert.match(await curl(flag, '-i', '-H', 'te: trailers', url('/trailers')), /body[\s\S]*grpc-status: 0/);
        assert.match(await curl(flag, '-I', url('/')), /^HTTP\/\S+ 200[\s\S]*x-service: web-1/m);
      });
    }
  });

  test('a large download is whole, and does not hold up the others of its connection', async () => {
    const client = await session();
    const large = client.request({ ':path': `/download?bytes=${BODY_BYTES}`, ':authority': HOST });
    const hash = createHash('sha256');
    large.on('data', (chunk: Buffer) => hash.update(chunk));
    const ended = once(large, 'end');
    for (let i = 0; i < 20; i++) {
      const small = client.request({ ':path': '/', ':authority': HOST });
      assert.equal(((await once(small, 'response')) as [Record<string, unknown>])[0][':status'], 200);
      small.resume();
    }
    await ended;
    assert.equal(hash.digest('hex'), downloadHash(BODY_BYTES));
    client.destroy();
  });

  test('server-sent events come as they are sent, and end with their client', async () => {
    const client = await session();
    const events = client.request({ ':path': '/tick', ':authority': HOST });
    for (let i = 0; i < 5; i++) assert.match(String((await once(events, 'data'))[0]), /^data: \d/);
    events.on('error', () => undefined);
    const written = web.eventWrittenAt;
    events.close(8);
    await once(events, 'close');
    assert.ok(written > 0);
    client.destroy();
  });

  test('a WebSocket is opened over it, and echoes', async () => {
    const client = await session();
    if (!client.remoteSettings.enableConnectProtocol) await once(client, 'remoteSettings');
    const stream = client.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/ws',
      ':authority': HOST,
      'sec-websocket-version': '13',
    });
    const [head] = (await once(stream, 'response')) as [Record<string, unknown>];
    assert.equal(head[':status'], 200);
    // "hi" in one text frame, with a mask of zeros (RFC 6455 §5.2); the answer has none.
    stream.write(Uint8Array.of(0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69));
    const [echo] = (await once(stream, 'data')) as [Buffer];
    assert.deepEqual([...echo], [0x81, 0x02, 0x68, 0x69]);
    client.destroy();
  });

  test(`h2load: none of ${REQUESTS} requests fails`, { skip: without('/usr/bin/h2load') }, async () => {
    const { stdout } = await run('h2load', [
      '-n',
      String(REQUESTS),
      '-c8',
      '-m16',
      `--connect-to=127.0.0.1:${world.gateway.port}`,
      url('/'),
    ]);
    assert.match(stdout, new RegExp(`${REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout`));
    assert.match(stdout, /Application protocol: h2/);
  });

  test('a browser speaks it', { skip: without(CHROMIUM) }, async () => {
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    try {
      const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
      await page.goto(url('/'));
      const timing = await page.evaluate(`performance.getEntriesByType('navigation')[0].nextHopProtocol`);
      assert.equal(timing, 'h2');
      const texts = await page.evaluate(
        `Promise.all(Array.from({ length: 50 }, () => fetch('/').then((r) => r.text())))`,
      );
      assert.deepEqual(
        texts,
        Array.from({ length: 50 }, () => 'hello from web-1\n'),
      );
    } finally {
      await browser.close();
    }
  });
});
