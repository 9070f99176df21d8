/** Edge rules of a name, through the whole request path to members in memory. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { PublishRules } from '@moat/contract';
import type { StreamAcceptor } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { answering, member, recording, TEXT, type Seen } from '../member.ts';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
}

interface Asked extends RequestOptions {
  readonly body?: string;
  readonly headers?: Record<string, string | number>;
}

async function ask(edge: EdgeUnderTest, { body, ...options }: Asked = {}): Promise<Answer> {
  const sent = httpsRequest({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    servername: HOST,
    ca: edge.ca,
    agent: false,
    ...options,
    headers: { host: HOST, ...options.headers },
  });
  sent.on('error', () => undefined);
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  sent.end(body);
  const [response] = await answered;
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const { statusCode: status = 0, headers, trailers } = response;
  return { status, headers, trailers, body: Buffer.concat(chunks) };
}

interface Published {
  readonly members: Readonly<Record<string, StreamAcceptor>>;
  /** Members by the other service that they have. */
  readonly others?: Readonly<Record<string, readonly string[]>>;
}

function publish(edge: EdgeUnderTest, rules: PublishRules, { members, others = {} }: Published): void {
  for (const [peer, accept] of Object.entries(members)) edge.links.add(peer, accept);
  const elsewhere = new Set(Object.values(others).flat());
  edge.route({
    host: HOST,
    deployment: 'd',
    service: 'web',
    members: Object.keys(members).filter((peer) => !elsewhere.has(peer)),
    rules,
    others: Object.entries(others).map(([service, peers]) => ({ service, members: peers })),
  });
}

async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

const codeOf = ({ body }: Answer): string => /<code>([A-Z_]+)<\/code>/.exec(body.toString())?.[1] ?? '';

test('an address that is out gets 403, one that is in its answer', async () => {
  await using edge = await EdgeUnderTest.start();
  publish(edge, { from: { deny: ['127.0.0.0/8'] } }, { members: { m1: answering('hello') } });
  const refused = await ask(edge);
  assert.deepEqual([refused.status, codeOf(refused)], [403, 'ADDRESS_REFUSED']);
  publish(edge, { from: { allow: ['127.0.0.1'] } }, { members: { m1: answering('hello') } });
  assert.equal((await ask(edge)).status, 200);
});

test('past its rate a name answers 429 and says when to come back; another version gives nobody more', async () => {
  await using edge = await EdgeUnderTest.start();
  const rules = { rate: { each: { count: 2, perMs: 3_600_000 } } } as const;
  publish(edge, rules, { members: { m1: answering('hello') } });
  assert.deepEqual([(await ask(edge)).status, (await ask(edge)).status], [200, 200]);
  const refused = await ask(edge);
  assert.deepEqual([refused.status, codeOf(refused)], [429, 'RATE_LIMITED']);
  assert.ok(Number(refused.headers['retry-after']) > 1_000);
  publish(edge, rules, { members: { m2: answering('hello') } });
  assert.equal((await ask(edge)).status, 429, 'written the same, counted on');
  assert.equal((await edge.logged(({ status }) => status === 429))['deployment'], 'd');
});

test('so many at once and no more, whatever way each of them ends', async () => {
  await using edge = await EdgeUnderTest.start();
  const endings: (() => void)[] = [];
  const waiting = member((stream) => {
    if (stream.requestHead?.target === '/broken') stream.reset('SERVICE_UNREACHABLE');
    else endings.push(() => (stream.writeHead({ status: 200, fields: TEXT }), stream.end()));
    return {};
  });
  publish(edge, { concurrency: 1, maxBodyBytes: 10 }, { members: { m1: waiting } });
  for (let i = 0; i < 3; i++) {
    assert.equal((await ask(edge, { path: '/broken' })).status, 502);
    assert.equal((await ask(edge, { method: 'POST', body: 'more than ten bytes' })).status, 413);
    const cut = ask(edge);
    await eventually(() => endings.length > 0);
    edge.edge.withdraw([HOST]);
    await cut;
    endings.length = 0;
  }
  const first = ask(edge);
  await eventually(() => endings.length > 0);
  const refused = await ask(edge);
  assert.deepEqual([refused.status, codeOf(refused)], [503, 'NAME_BUSY']);
  endings[0]?.();
  assert.equal((await first).status, 200);
});

test('under maintenance everything is 503 with the publisher’s words, which are text', async () => {
  await using edge = await EdgeUnderTest.start();
  const maintenance = { message: 'back at <b>noon</b>.', retryAfterMs: 90_000 };
  publish(edge, { maintenance }, { members: { m1: answering('hello') } });
  const answer = await ask(edge);
  assert.deepEqual([answer.status, codeOf(answer), answer.headers['retry-after']], [503, 'NAME_CLOSED', '90']);
  const text = answer.body.toString();
  assert.ok(text.includes('Back at &#60;b&#62;noon&#60;/b&#62;.</p>') && !text.includes('<b>'), text);
});

test('a redirect needs no member, and keeps path and query', async () => {
  await using edge = await EdgeUnderTest.start();
  publish(edge, { redirect: { to: 'https://new.example/', status: 308 } }, { members: {} });
  const answer = await ask(edge, { path: '/a?b=<c>', method: 'POST', body: 'x' });
  assert.deepEqual([answer.status, answer.headers.location], [308, 'https://new.example/a?b=<c>']);
  assert.ok(!answer.body.includes('<c>'));
});

test('paths lead to other services, whole segments, with the beginning taken away where asked', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  const paths = [{ prefix: '/api', service: 'api', strip: true }] as const;
  publish(edge, { paths }, { members: { m1: answering('web'), m2: recording(seen) }, others: { api: ['m2'] } });
  assert.equal((await ask(edge, { path: '/apis' })).body.toString(), 'web');
  assert.equal((await ask(edge, { path: '/api/users?x' })).status, 200);
  assert.equal(seen[0]?.target, '/users?x');
  const line = await edge.logged(({ service }) => service === 'api');
  assert.equal(line['peer'], 'm2');
  publish(edge, { paths }, { members: { m1: answering('web') }, others: { api: [] } });
  assert.deepEqual(codeOf(await ask(edge, { path: '/api' })), 'NO_MEMBER_CONNECTED', 'never the other service instead');
});

test('a split sends every client of its part to the other service', async () => {
  await using edge = await EdgeUnderTest.start();
  const members = { m1: answering('web'), m2: answering('canary') };
  for (const [percent, text] of [
    [100, 'canary'],
    [0, 'web'],
  ] as const) {
    publish(edge, { split: [{ service: 'next', percent }] }, { members, others: { next: ['m2'] } });
    assert.equal((await ask(edge)).body.toString(), text);
  }
});

test('fields are set and removed on the way in and out, never those that say where a request comes from', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  const rules = {
    headers: {
      request: { set: { 'x-tier': 'gold' }, remove: ['x-debug'] },
      response: { set: { 'x-frame-options': 'DENY', 'set-cookie': 'a=b; Domain=localhost' }, remove: ['content-type'] },
    },
  };
  publish(edge, rules, { members: { m1: recording(seen) } });
  for (let i = 0; i < 2; i++) {
    const answer = await ask(edge, { headers: { 'x-debug': '1', 'x-tier': 'mine', 'x-forwarded-for': '192.0.2.1' } });
    assert.equal(answer.headers['x-frame-options'], 'DENY');
    assert.equal(answer.headers['content-type'], undefined);
    assert.deepEqual(answer.headers['set-cookie'], ['a=b'], 'no further than a cookie of the service');
    const names = new Map(seen[i]?.fields);
    assert.deepEqual(
      [names.get('x-tier'), names.get('x-debug'), names.get('x-forwarded-for')],
      ['gold', undefined, '127.0.0.1'],
    );
  }
});

test('a body that is too large is refused by its length, and while it comes', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  publish(edge, { maxBodyBytes: 100 }, { members: { m1: recording(seen) } });
  const announced = await ask(edge, { method: 'PUT', headers: { expect: '100-continue', 'content-length': 101 } });
  assert.deepEqual([announced.status, codeOf(announced)], [413, 'BODY_TOO_LARGE']);
  const chunked = { 'transfer-encoding': 'chunked' };
  assert.equal((await ask(edge, { method: 'PUT', headers: chunked, body: 'x'.repeat(101) })).status, 413);
  assert.equal((await ask(edge, { method: 'PUT', headers: chunked, body: 'x'.repeat(100) })).status, 200);
  assert.equal(seen.length, 1);
});

test('as many other members are tried as the rule says', async () => {
  await using edge = await EdgeUnderTest.start();
  let tried = 0;
  const broken = member((stream) => {
    tried += 1;
    stream.reset('SERVICE_UNREACHABLE');
    return undefined;
  });
  const members = { m1: broken, m2: broken, m3: broken, m4: broken };
  for (const retries of [0, 2]) {
    publish(edge, { retries }, { members });
    tried = 0;
    assert.equal((await ask(edge)).status, 502);
    assert.equal(tried, retries + 1);
  }
});

test('a member that failed in a row rests, and one request shows that it is well again', async () => {
  const clock = createManualClock(Date.now());
  await using edge = await EdgeUnderTest.start({ clock });
  let status = 503;
  const failing = member((stream) => {
    stream.writeHead({ status, fields: [['content-length', '0']] });
    stream.end();
    return {};
  });
  publish(edge, { breaker: { failures: 2, openMs: 10_000 } }, { members: { m1: failing } });
  assert.deepEqual([(await ask(edge)).status, codeOf(await ask(edge))], [503, '']);
  status = 200;
  for (const waitMs of [0, 9_999]) {
    clock.advance(waitMs);
    const resting = await ask(edge);
    assert.deepEqual([resting.status, codeOf(resting)], [503, 'MEMBERS_RESTING']);
  }
  clock.advance(1);
  assert.equal((await ask(edge)).status, 200);
});

test('a client stays with the member that answered it, the service sees nothing of it, and it moves when that is gone', async () => {
  await using edge = await EdgeUnderTest.start();
  const seen: Seen[] = [];
  const members = { m1: answering('one'), m2: answering('two') };
  publish(edge, { sticky: true }, { members });
  const first = await ask(edge);
  const [cookie = ''] = (first.headers['set-cookie']?.[0] ?? '').split(';');
  assert.ok(cookie.startsWith('__Host-moat-member-'), cookie);
  for (let i = 0; i < 12; i++) {
    const again = await ask(edge, { headers: { cookie: `a=b; ${cookie}` } });
    assert.deepEqual([again.body.toString(), again.headers['set-cookie']], [first.body.toString(), undefined]);
  }
  const [left, right] = first.body.toString() === 'one' ? (['m1', 'm2'] as const) : (['m2', 'm1'] as const);
  publish(edge, { sticky: true }, { members: { [right]: recording(seen) } });
  const moved = await ask(edge, { headers: { cookie: `a=b; ${cookie}` } });
  assert.ok(moved.headers['set-cookie'], `${left} is gone`);
  assert.equal(new Map(seen[0]?.fields).get('cookie'), 'a=b');
});

test('texts are compressed as the client likes them, to the last byte and trailer', async () => {
  await using edge = await EdgeUnderTest.start();
  const text = 'all the words there are '.repeat(40_000);
  const long = member((stream) => {
    stream.writeHead({ status: 200, fields: [...TEXT, ['etag', '"x"'], ['trailer', 'grpc-status']] });
    let at = 0;
    const more = (): void => {
      while (at < text.length) if (!stream.write(Buffer.from(text.slice(at, (at += 16_384))))) return;
      stream.end([['grpc-status', '0']]);
    };
    more();
    return { onDrain: more };
  });
  publish(edge, { compress: true }, { members: { m1: long } });
  for (const [accepted, decode] of [
    ['br, gzip', brotliDecompressSync],
    ['gzip', gunzipSync],
  ] as const) {
    const answer = await ask(edge, { headers: { 'accept-encoding': accepted } });
    assert.equal(decode(answer.body).toString(), text);
    assert.equal(answer.headers['etag'], 'W/"x"');
    assert.equal(answer.headers['vary'], 'accept-encoding');
    assert.deepEqual({ ...answer.trailers }, { 'grpc-status': '0' });
  }
  const plain = await ask(edge);
  assert.deepEqual([plain.headers['content-encoding'], plain.body.toString()], [undefined, text]);
});

test('a slow client of a compressed answer holds the service back', async () => {
  await using edge = await EdgeUnderTest.start();
  let sent = 0;
  let done = false;
  const endless = member((stream) => {
    stream.writeHead({ status: 200, fields: TEXT });
    const more = (): void => {
      while (sent < 64 * 1_048_576) {
        sent += 65_536;
        // Nothing that a compressor could make small.
        if (!stream.write(randomBytes(65_536))) return;
      }
      stream.end();
    };
    more();
    return { onDrain: more, onClose: () => (done = true) };
  });
  publish(edge, { compress: true }, { members: { m1: endless } });
  const socket = await edge.connect();
  socket.pause();
  socket.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\naccept-encoding: br\r\n\r\n`);
  const settled = async (last: number): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, 250));
    if (last !== sent || sent === 0) await settled(sent);
  };
  await settled(sent);
  assert.ok(sent < 32 * 1_048_576, `${sent} bytes were taken from the service`);
  socket.destroy();
  await eventually(() => done);
});

test('connections nobody reads: by address, so many at once', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.links.add(
    'm1',
    member((stream) => {
      stream.writeHead({ connected: true });
      stream.write(Buffer.from('hi'));
      return { onEnd: () => stream.end() };
    }),
  );
  const route = (rules: PublishRules): void =>
    edge.route({ host: HOST, deployment: 'd', service: 'web', members: ['m1'], opaque: 'terminated', rules });
  const opened = async (): Promise<TLSSocket | undefined> => {
    const socket = await edge.connect();
    const [said] = await Promise.race([once(socket, 'data'), once(socket, 'close')]);
    return Buffer.isBuffer(said) ? socket : undefined;
  };
  route({ from: { deny: ['127.0.0.1'] } });
  assert.equal(await opened(), undefined);
  assert.equal((await edge.logged(({ code }) => code === 'ADDRESS_REFUSED'))['host'], HOST);
  route({ concurrency: 1 });
  for (let i = 0; i < 2; i++) {
    const first = await opened();
    assert.ok(first);
    assert.equal(await opened(), undefined);
    first.end();
    await once(first, 'close');
    await eventually(() => edge.edge.tunnels.running === 0);
  }
});
