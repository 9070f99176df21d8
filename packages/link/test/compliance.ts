/** What every link does, whatever its bytes ride on. Run over memory, a TLS socket and an overlay stream. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';

import { isMoatError, type Link, type LinkStream, type RequestHead } from '@moat/core';

import { Recorder, echo, turns } from './recorder.ts';

/** Two linked peers. */
export interface LinkedPair extends AsyncDisposable {
  readonly dialer: Link;
  readonly acceptor: Link;
  /** What each side does with streams the other opens; echoes until set. */
  accept: (stream: LinkStream, side: 'dialer' | 'acceptor') => void;
}

export interface ComplianceOptions {
  /** Bytes of the large transfer. */
  readonly transferBytes: number;
}

const deployment = 'q7f3aaaaaaaaaaaaaaaaaaaaaa';
const tcp = { deployment, service: 'db', kind: 'tcp' } as const;
const packets = { deployment, service: '', kind: 'packets' } as const;
const http = { deployment, service: 'web', kind: 'http' } as const;
const get: RequestHead = {
  method: 'GET',
  authority: 'shop.example.com',
  target: '/cart?item=1',
  fields: [
    ['accept', 'text/html'],
    ['cookie', 'a=b'],
    ['x-bytes', 'caf\u00e9'],
  ],
  bodyless: true,
};

export function linkCompliance(name: string, link: () => Promise<LinkedPair>, options: ComplianceOptions): void {
  describe(name, () => {
    test('a tcp stream carries bytes both ways and ends cleanly', async () => {
      await using pair = await link();
      const client = new Recorder(pair.dialer.open(tcp));
      client.stream.write(Buffer.from('hello'));
      client.stream.end();
      assert.deepEqual(await client.head, { connected: true });
      assert.deepEqual(await client.ended, []);
      assert.equal(client.text, 'hello');
      assert.equal(await client.closed, undefined);
      assert.equal(client.closes, 1);
      assert.equal(pair.dialer.openStreams, 0);
    });

    test('the accepting side may open streams too', async () => {
      await using pair = await link();
      const client = new Recorder(pair.acceptor.open(tcp));
      client.stream.write(Buffer.from('hello'));
      client.stream.end();
      await client.closed;
      assert.equal(client.text, 'hello');
    });

    test('what a stream is for arrives with it', async () => {
      await using pair = await link();
      const arrived = Promise.withResolvers<LinkStream>();
      pair.accept = (stream) => {
        arrived.resolve(stream);
        echo(stream);
      };
      const client = new Recorder(pair.dialer.open(tcp));
      const stream = await arrived.promise;
      assert.deepEqual(stream.request, tcp);
      assert.equal(stream.peer, pair.acceptor.peer);
      assert.equal(stream.requestHead, undefined);
      client.stream.reset('TEST_OVER');
    });

    test('a stream of packets carries bytes both ways, for no service', async () => {
      await using pair = await link();
      const arrived = Promise.withResolvers<LinkStream>();
      pair.accept = (stream) => {
        arrived.resolve(stream);
        echo(stream);
      };
      const client = new Recorder(pair.dialer.open(packets));
      client.stream.write(Buffer.from('hello'));
      client.stream.end();
      assert.deepEqual(await client.head, { connected: true });
      assert.equal(await client.closed, undefined);
      assert.equal(client.text, 'hello');
      assert.deepEqual((await arrived.promise).request, packets);
    });

    test('an http stream carries heads, interim heads, body and trailers', async () => {
      await using pair = await link();
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        assert.deepEqual(stream.requestHead, get);
        stream.writeHead({ status: 103, fields: [['link', '</style.css>']] });
        stream.writeHead({ status: 200, fields: [['content-type', 'text/plain']] });
        stream.write(Buffer.from('body'));
        stream.end([['grpc-status', '0']]);
        void server.ended;
      };
      const client = new Recorder(pair.dialer.open(http, get));
      client.stream.end();
      assert.deepEqual(await client.ended, [['grpc-status', '0']]);
      assert.equal(await client.closed, undefined);
      assert.equal(client.text, 'body');
      assert.deepEqual(client.heads, [
        { status: 103, fields: [['link', '</style.css>']] },
        { status: 200, fields: [['content-type', 'text/plain']] },
      ]);
    });

    test('one direction may end long before the other', async () => {
      await using pair = await link();
      const served = Promise.withResolvers<Recorder>();
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        stream.writeHead({ connected: true });
        stream.end();
        served.resolve(server);
      };
      const client = new Recorder(pair.dialer.open(tcp));
      await client.ended;
      const server = await served.promise;
      for (let i = 0; i < 100; i++) await client.send(Buffer.alloc(1000, i));
      assert.equal(client.closes, 0);
      client.stream.end();
      assert.equal(await client.closed, undefined);
      assert.equal(await server.closed, undefined);
      assert.equal(server.bytes, 100_000);
    });

    test('a reset ends both sides with its code', async () => {
      await using pair = await link();
      pair.accept = (stream) => stream.reset('GRANT_DENIED');
      const refused = new Recorder(pair.dialer.open(tcp));
      assert.equal(await refused.closed, 'GRANT_DENIED');

      const served = Promise.withResolvers<Recorder>();
      pair.accept = (stream) => served.resolve(echo(stream));
      const client = new Recorder(pair.dialer.open(tcp));
      await client.head;
      client.stream.reset('CLIENT_GONE');
      assert.equal(await client.closed, 'CLIENT_GONE');
      assert.equal(await (await served.promise).closed, 'CLIENT_GONE');
      assert.equal(pair.dialer.openStreams, 0);
      assert.equal(client.stream.write(Buffer.from('late')), false);
    });

    test('a stream nobody listens to, and one whose handler throws, are reset', async () => {
      await using pair = await link();
      pair.accept = () => undefined;
      assert.equal(await new Recorder(pair.dialer.open(tcp)).closed, 'STREAM_UNHANDLED');
      pair.accept = () => {
        throw new Error('a bug');
      };
      assert.equal(await new Recorder(pair.dialer.open(tcp)).closed, 'INTERNAL');
    });

    test('a head that breaks a rule ends its stream by an event, and only its stream', async () => {
      await using pair = await link();
      const forged: RequestHead = { ...get, fields: [['x', 'a\r\nb: c']] };
      const opened = new Recorder(pair.dialer.open(http, forged));
      opened.stream.write(Buffer.from('x'));
      opened.stream.end();
      assert.equal(await opened.closed, 'HEAD_INVALID');
      const large: RequestHead = { ...get, fields: [['x', 'a'.repeat(70_000)]] };
      assert.equal(await new Recorder(pair.dialer.open(http, large)).closed, 'HEAD_TOO_LARGE');
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        server.stream.writeHead({ status: 200, fields: [['x', 'a\nb']] });
      };
      assert.equal(await new Recorder(pair.dialer.open(http, get)).closed, 'HEAD_INVALID');
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        server.stream.writeHead({ status: 200, fields: [] });
        server.stream.end([['content-length', '1']]);
      };
      assert.equal(await new Recorder(pair.dialer.open(http, get)).closed, 'HEAD_INVALID');
      assert.equal(pair.dialer.closed.aborted, false);
    });

    test('data before the answer is refused where it is written', async () => {
      await using pair = await link();
      const thrown = Promise.withResolvers<unknown>();
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        try {
          stream.write(Buffer.from('too early'));
        } catch (error) {
          thrown.resolve(error);
        }
        server.stream.reset('TEST_OVER');
      };
      await new Recorder(pair.dialer.open(tcp)).closed;
      assert.ok(isMoatError(await thrown.promise, 'HEAD_MISSING'));
    });

    test('a paused reader stops its peer within the window, and goes on', async () => {
      await using pair = await link();
      const served = Promise.withResolvers<Recorder>();
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        stream.writeHead({ connected: true });
        stream.pause();
        served.resolve(server);
      };
      const client = new Recorder(pair.dialer.open(tcp));
      const chunk = Buffer.alloc(10_000, 1);
      let sent = 0;
      while (client.stream.write(chunk)) sent += chunk.length;
      sent += chunk.length;
      const server = await served.promise;
      await pair.dialer.ping(AbortSignal.timeout(10_000));
      await turns(5);
      assert.ok(server.bytes <= 128 * 1024, `${server.bytes} bytes passed a paused reader`);
      const drain = client.nextDrain;
      server.stream.resume();
      await drain;
      client.stream.end();
      await server.ended;
      assert.equal(server.bytes, sent);
    });

    test('a writer that never waits is stopped', async () => {
      await using pair = await link();
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        stream.pause();
        void server.closed;
      };
      const client = new Recorder(pair.dialer.open(tcp));
      const chunk = Buffer.alloc(64 * 1024);
      for (let i = 0; i < 128; i++) client.stream.write(chunk);
      assert.equal(await client.closed, 'STREAM_OVERRUN');
    });

    test('a slow reader slows nobody else', async () => {
      await using pair = await link();
      pair.accept = (stream) => {
        if (stream.request.service !== 'slow') {
          echo(stream);
          return;
        }
        const server = new Recorder(stream);
        stream.writeHead({ connected: true });
        stream.pause();
        void server.closed;
      };
      const slow = Array.from({ length: 32 }, () => new Recorder(pair.dialer.open({ ...tcp, service: 'slow' })));
      for (const client of slow) while (client.stream.write(Buffer.alloc(32 * 1024)));
      const fast = new Recorder(pair.dialer.open(tcp));
      const chunk = randomBytes(100_000);
      for (let i = 0; i < 50; i++) await fast.send(chunk);
      fast.stream.end();
      assert.equal(await fast.closed, undefined);
      assert.equal(fast.bytes, 5_000_000);
      for (const client of slow) assert.equal(client.closes, 0);
    });

    test('many streams at once keep their bytes apart', async () => {
      await using pair = await link();
      const clients = await Promise.all(
        Array.from({ length: 500 }, async (_, i) => {
          const side = i % 2 === 0 ? pair.dialer : pair.acceptor;
          const client = new Recorder(side.open(i % 3 === 0 ? http : tcp, i % 3 === 0 ? get : undefined));
          const part = Buffer.from(`stream ${i};`);
          for (let n = 0; n < 20; n++) await client.send(part);
          client.stream.end();
          await client.closed;
          return client;
        }),
      );
      for (const [i, client] of clients.entries()) assert.equal(client.text, `stream ${i};`.repeat(20));
      assert.equal(pair.dialer.openStreams + pair.acceptor.openStreams, 0);
    });

    test(`a transfer of ${options.transferBytes / 2 ** 20} MiB arrives unchanged`, async () => {
      await using pair = await link();
      const served = Promise.withResolvers<Recorder>();
      pair.accept = (stream) => {
        const server = new Recorder(stream);
        server.onPiece = (piece) => void server.hash.update(piece);
        stream.writeHead({ connected: true });
        served.resolve(server);
      };
      const client = new Recorder(pair.dialer.open(tcp));
      const expected = createHash('sha256');
      const block = randomBytes(1 << 20);
      for (let sent = 0, i = 0; sent < options.transferBytes; i++) {
        block.writeUInt32BE(i, 0);
        const chunk = block.subarray(0, Math.min(options.transferBytes - sent, 1 + ((i * 65_537) % block.length)));
        expected.update(chunk);
        sent += chunk.length;
        await client.send(chunk);
      }
      client.stream.end();
      const server = await served.promise;
      await server.ended;
      assert.equal(server.bytes, options.transferBytes);
      assert.equal(server.hash.digest('hex'), expected.digest('hex'));
    });

    test('a ping is answered and measured', async () => {
      await using pair = await link();
      const rtt = await pair.dialer.ping(AbortSignal.timeout(10_000));
      assert.ok(rtt >= 0 && rtt < 10_000);
      assert.equal(pair.dialer.rttMs, rtt);
      await assert.rejects(pair.dialer.ping(AbortSignal.abort(new Error('no time'))), /no time/);
    });

    test('closing without a code lets running streams finish and takes no new ones', async () => {
      await using pair = await link();
      const client = new Recorder(pair.dialer.open(tcp));
      await client.head;
      pair.acceptor.close();
      assert.throws(() => pair.acceptor.open(tcp), { code: 'LINK_CLOSED' });
      await pair.dialer.ping(AbortSignal.timeout(10_000));
      assert.throws(() => pair.dialer.open(tcp), { code: 'LINK_CLOSED' });
      assert.equal(pair.dialer.closed.aborted, false);
      client.stream.write(Buffer.from('still here'));
      client.stream.end();
      assert.equal(await client.closed, undefined);
      assert.equal(client.text, 'still here');
      await Promise.all([aborted(pair.dialer.closed), aborted(pair.acceptor.closed)]);
    });

    test('closing with a code ends every stream on both sides with it', async () => {
      await using pair = await link();
      const served = Promise.withResolvers<Recorder>();
      pair.accept = (stream) => served.resolve(echo(stream));
      const client = new Recorder(pair.dialer.open(tcp));
      await client.head;
      pair.dialer.close('LINK_REVOKED');
      assert.equal(await client.closed, 'LINK_REVOKED');
      assert.equal(await (await served.promise).closed, 'LINK_REVOKED');
      await aborted(pair.acceptor.closed);
      assert.ok(isMoatError(pair.acceptor.closed.reason, 'LINK_REVOKED'));
      await assert.rejects(pair.dialer.ping(AbortSignal.timeout(1000)), { code: 'LINK_REVOKED' });
    });
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
