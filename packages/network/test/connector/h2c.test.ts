/** Requests to services that speak HTTP/2 without TLS. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { suite, test } from 'node:test';
import { silentLogger, systemClock, type Clock, type FieldList, type RequestHead } from '@moat/core';
import { checkLeaks, createManualClock } from '@moat/testkit';
import { serveH2c } from '../../src/connector/h2c.ts';
import { H2cPool, type H2cPoolOptions } from '../../src/connector/h2c-pool.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { Peer, rawServer, requestHead } from '../peer.ts';

type Handler = (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void;

class Service implements AsyncDisposable {
  readonly server: Http2Server;
  readonly sessions: ServerHttp2Session[] = [];
  readonly sockets: Socket[] = [];
  readonly host = '127.0.0.1';

  private constructor(server: Http2Server) {
    this.server = server;
    server.on('session', (session) => this.sessions.push(session));
    server.on('connection', (socket: Socket) => this.sockets.push(socket));
  }

  static async start(handler: Handler, settings: { maxConcurrentStreams?: number } = {}): Promise<Service> {
    const server = createServer({ settings });
    const service = new Service(server);
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined);
      handler(stream, headers);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return service;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const session of this.sessions) session.destroy();
    await closed;
  }
}

class Connector implements Disposable {
  readonly sessions: H2cPool;
  readonly #target: { host: string; port: number };

  constructor(target: { host: string; port: number }, options: H2cPoolOptions = {}, clock: Clock = systemClock) {
    this.#target = target;
    this.sessions = new H2cPool({ clock, isOwnSocket: () => false }, options);
  }

  open(head: Partial<RequestHead> = {}): Peer & { done: Promise<void> } {
    const { opened, accepted } = createStreamPair({
      request: { deployment: 'd', service: 'rpc', kind: 'http' },
      requestHead: requestHead({ method: 'POST', bodyless: false, ...head }),
      opener: 'gateway',
      acceptor: 'member',
    });
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const { host, port } = this.#target;
    serveH2c({ sessions: this.sessions, clock: systemClock, logger: silentLogger }, accepted, { host, port }, resolve);
    return Object.assign(new Peer(opened), { done });
  }

  /** A whole exchange. */
  async ask(head: Partial<RequestHead> = {}, body: string = '', trailers?: FieldList): Promise<Peer> {
    const peer = this.open(head);
    if (body !== '') peer.stream.write(Buffer.from(body));
    peer.stream.end(trailers);
    await peer.end();
    await peer.close();
    await peer.done;
    return peer;
  }

  [Symbol.dispose](): void {
    this.sessions.close();
  }
}

function trailing(stream: ServerHttp2Stream, trailers: Record<string, string>): void {
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
}

/** A session reads its socket without the socket's knowledge. */
function readStopped(socket: Socket | undefined): void {
  const { _handle: handle } = socket as unknown as { _handle: { readStop(): void } };
  handle.readStop();
}

suite('h2c', () => {
  checkLeaks();

  test('a request, its body and trailers, and the answer with its own', async () => {
    const seen: Record<string, unknown>[] = [];
    await using service = await Service.start((stream, headers) => {
      let body = '';
      stream.setEncoding('utf8').on('data', (text: string) => (body += text));
      stream.on('trailers', (trailers) =>
        seen.push({ ...headers, trailers: Object.fromEntries(Object.entries(trailers)) }),
      );
      stream.on('end', () => {
        stream.additionalHeaders({ ':status': 103, link: '</a>' });
        stream.respond(
          { ':status': 200, 'content-type': 'application/grpc', 'x-a': ['1', '2'] },
          { waitForTrailers: true },
        );
        trailing(stream, { 'grpc-status': '0', 'x-forwarded-for': '::1' });
        stream.end(body.toUpperCase());
      });
    });
    using connector = new Connector(service);
    const fields: FieldList = [
      ['content-type', 'application/grpc'],
      ['te', 'x'],
      ['connection', 'close'],
      ['grpc-timeout', '5S'],
    ];
    const peer = await connector.ask({ target: '/pkg.Service/Do', fields, more: [['x-request-id', 'r1']] }, 'ping', [
      ['x-sum', '9'],
    ]);
    const [first] = seen;
    assert.deepEqual(
      [first?.[':method'], first?.[':path'], first?.[':authority'], first?.[':scheme'], first?.['te']],
      ['POST', '/pkg.Service/Do', 'shop.example', 'http', 'trailers'],
    );
    assert.deepEqual(
      [first?.['grpc-timeout'], first?.['x-request-id'], first?.['connection']],
      ['5S', 'r1', undefined],
    );
    assert.deepEqual(first?.['trailers'], { 'x-sum': '9' });
    assert.deepEqual(peer.heads[0], { status: 103, fields: [['link', '</a>']] });
    assert.equal(peer.answer?.status, 200);
    assert.deepEqual(
      peer.answer?.fields.filter(([name]) => name === 'x-a'),
      [
        ['x-a', '1'],
        ['x-a', '2'],
      ],
    );
    assert.equal(peer.body, 'PING');
    assert.deepEqual(peer.trailers, [['grpc-status', '0']]);
    assert.equal(peer.closed?.code, undefined);
  });

  test('an answer that is only its head', async () => {
    await using service = await Service.start((stream) => {
      stream.respond({ ':status': 200, 'grpc-status': '12' }, { endStream: true });
    });
    using connector = new Connector(service);
    const peer = await connector.ask({}, 'x');
    assert.equal(peer.answer?.fields.find(([name]) => name === 'grpc-status')?.[1], '12');
    assert.deepEqual([peer.body, peer.trailers, peer.closed], ['', [], { code: undefined }]);
  });

  test('both directions at once, over one session, at the pace of who reads', async () => {
    await using service = await Service.start((stream) => {
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    });
    using connector = new Connector(service);
    const peers = Array.from({ length: 20 }, () => connector.open());
    for (const round of [1, 2, 3]) {
      for (const peer of peers) peer.stream.write(Buffer.from(`round ${round};`));
      // Each message comes back before the next is sent.
      for (const peer of peers) await peer.until(() => peer.body.endsWith(`round ${round};`));
    }
    const [first] = peers;
    assert.ok(first);
    first.stream.pause();
    let sent = 0;
    const chunk = Buffer.alloc(64 * 1_024);
    for (let more = true; more; sent += chunk.length) more = first.stream.write(chunk);
    first.stream.resume();
    await first.until(() => first.bytes > sent);
    for (const peer of peers) peer.stream.end();
    for (const peer of peers) assert.equal(await peer.close(), undefined);
    assert.equal(service.sessions.length, 1);
  });

  test('a cancelled request is no complete one', async () => {
    const codes: (number | string)[] = [];
    const closed = Promise.withResolvers<void>();
    await using service = await Service.start((stream) => {
      stream.on('data', () => undefined);
      stream.on('end', () => codes.push(stream.aborted ? 'aborted' : 'complete'));
      stream.on('close', () => {
        codes.push(stream.rstCode);
        closed.resolve();
      });
    });
    using connector = new Connector(service);
    const peer = connector.open();
    peer.stream.write(Buffer.from('half'));
    await once(service.server, 'stream');
    peer.stream.reset('CLIENT_GONE');
    await closed.promise;
    assert.ok(!codes.includes('complete'));
    assert.ok(codes.includes(8), 'CANCEL');
    await peer.done;
  });

  test('what a service breaks off is told apart', async () => {
    await using service = await Service.start((stream, headers) => {
      if (headers[':path'] === '/refused') return stream.close(7);
      stream.respond({ ':status': 200 });
      stream.write('half', () => stream.destroy(new Error('broken')));
    });
    using connector = new Connector(service);
    assert.equal((await connector.ask({ target: '/refused' })).closed?.code, 'SERVICE_BUSY');
    const broken = await connector.ask({ target: '/broken' });
    assert.deepEqual([broken.closed?.code, broken.trailers], ['SERVICE_RESET', undefined]);
    const gone = await rawServer(() => undefined);
    const { port } = gone;
    await gone[Symbol.asyncDispose]();
    using nowhere = new Connector({ host: '127.0.0.1', port });
    assert.equal((await nowhere.ask()).closed?.code, 'SERVICE_UNREACHABLE');
  });

  test('a service that speaks HTTP/1.1 is SERVICE_PROTOCOL', async () => {
    await using old = await rawServer((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'));
    });
    using connector = new Connector(old);
    assert.equal((await connector.ask()).closed?.code, 'SERVICE_PROTOCOL');
  });

  test('streams beyond what a session may have go over another, those beyond all are refused', async () => {
    const open: ServerHttp2Stream[] = [];
    await using service = await Service.start((stream) => void open.push(stream), { maxConcurrentStreams: 2 });
    using connector = new Connector(service, { maxPerTarget: 2, maxStreams: 2 });
    const peers = [1, 2, 3, 4].map(() => connector.open());
    while (open.length < 4) await once(service.server, 'stream');
    assert.equal(connector.sessions.size, 2);
    assert.equal((await connector.ask()).closed?.code, 'SERVICE_BUSY');
    for (const stream of open) stream.respond({ ':status': 204 }, { endStream: true });
    for (const peer of peers) await peer.end();
    for (const peer of peers) peer.stream.end();
    for (const peer of peers) await peer.close();
  });

  test('a session whose service leaves takes no new stream and finishes the others', async () => {
    const open: ServerHttp2Stream[] = [];
    await using service = await Service.start((stream) => {
      if (open.push(stream) > 1) stream.respond({ ':status': 204 }, { endStream: true });
    });
    using connector = new Connector(service);
    const running = connector.open();
    await once(service.server, 'stream');
    const [session] = service.sessions;
    session?.goaway(0);
    // A stream that comes with it may still be lost: it is told, and the next goes over a new session.
    await connector.ask();
    await connector.ask();
    assert.equal(service.sessions.length, 2);
    open[0]?.respond({ ':status': 204 }, { endStream: true });
    running.stream.end();
    assert.equal(await running.close(), undefined);
  });

  test('a service that ends without a word ends what waits for it, and gets no new stream', async () => {
    let isFirst = true;
    await using service = await Service.start((stream) => {
      if (!isFirst) return stream.respond({ ':status': 204 }, { endStream: true });
      isFirst = false;
      // As the system does for a process that is killed: an end, no GOAWAY.
      service.sockets[0]?.end();
    });
    using connector = new Connector(service);
    const waiting = connector.open();
    assert.equal(await waiting.close(), 'SERVICE_RESET');
    assert.equal((await connector.ask()).answer?.status, 204);
    assert.equal(service.sessions.length, 2);
  });

  test('a session is closed when idle, and given up when it stands still', async () => {
    const clock = createManualClock();
    const open: ServerHttp2Stream[] = [];
    await using service = await Service.start((stream, headers) => {
      open.push(stream);
      if (headers[':path'] === '/') stream.respond({ ':status': 204 }, { endStream: true });
    });
    using connector = new Connector(service, { idleMs: 5_000, silentMs: 10_000, pingMs: 5_000 }, clock);
    await connector.ask();
    const [idle] = service.sessions;
    assert.ok(idle);
    clock.advance(7_000);
    await once(idle, 'close');
    const waiting = connector.open({ target: '/never' });
    await once(service.server, 'stream');
    const [, still] = service.sessions;
    assert.ok(still);
    const asked = once(still, 'ping');
    clock.advance(12_000);
    await asked;
    // It answered, so it lives.
    await new Promise((resolve) => still.ping(resolve));
    clock.advance(2_000);
    assert.equal(waiting.closed, undefined);
    // As a process that is stopped: its system takes bytes, it does not.
    readStopped(service.sockets.at(-1));
    clock.advance(12_000);
    clock.advance(6_000);
    assert.equal(await waiting.close(), 'SERVICE_RESET');
  });

  test('requests that could be read in two ways go nowhere', async () => {
    await using service = await Service.start(() => assert.fail('it went there'));
    using connector = new Connector(service);
    const refused: Partial<RequestHead>[] = [
      { method: 'CONNECT' },
      { method: 'GE T' },
      { target: 'http://other/' },
      { target: '/a b' },
      { authority: 'user@host' },
      { upgrade: 'websocket', bodyless: true },
      { fields: [['x-a', 'b\r\nc: d']] },
      { fields: [['X-A', 'b']] },
      { fields: [[':path', '/']] },
      { fields: [['transfer-encoding', 'chunked']] },
      { fields: [['content-length', '1']], bodyless: true },
      {
        fields: [
          ['content-length', '1'],
          ['content-length', '1'],
        ],
      },
    ];
    for (const head of refused)
      assert.equal((await connector.ask(head)).closed?.code, 'REQUEST_INVALID', JSON.stringify(head));
  });

  test('a body of another length than announced is broken off', async () => {
    const ends: string[] = [];
    await using service = await Service.start((stream) => {
      stream.resume();
      stream.on('end', () => ends.push(stream.aborted ? 'aborted' : 'complete'));
    });
    using connector = new Connector(service);
    const fields: FieldList = [['content-length', '3']];
    assert.equal((await connector.ask({ fields }, 'four')).closed?.code, 'REQUEST_INVALID');
    assert.equal((await connector.ask({ fields }, 'tw')).closed?.code, 'REQUEST_INVALID');
    assert.ok(!ends.includes('complete'));
  });
});
