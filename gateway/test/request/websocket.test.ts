/** Protocols that take over the connection. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Duplex } from 'node:stream';
import type { LinkStream, StreamAcceptor } from '@moat/core';
import { EdgeUnderTest, HOST, readAll } from '../edge-under-test.ts';
import { echoing, member, TEXT } from '../member.ts';

/** A WebSocket echo service behind a stream. */
function webSocketEcho(): StreamAcceptor {
  return member((stream) => {
    const { fields = [] } = stream.requestHead ?? {};
    const key = fields.find(([name]) => name === 'sec-websocket-key')?.[1] ?? '';
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    stream.writeHead({
      status: 101,
      fields: [
        ['upgrade', 'websocket'],
        ['connection', 'Upgrade'],
        ['sec-websocket-accept', accept],
      ],
    });
    const { socket, events } = duplexOf(stream);
    const ws = new WebSocket(null as never, undefined, { autoPong: true });
    (ws as unknown as { setSocket(socket: Duplex, head: Buffer, options: object): void }).setSocket(
      socket,
      Buffer.alloc(0),
      {
        allowSynchronousEvents: true,
        maxPayload: 64 * 1024 * 1024,
        skipUTF8Validation: false,
      },
    );
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
    return events;
  });
}

function duplexOf(stream: LinkStream): { socket: Duplex; events: object } {
  let onDrain = (): void => undefined;
  const socket = new Duplex({
    read: () => stream.resume(),
    write: (chunk: Uint8Array, _encoding, done) => {
      if (stream.write(chunk)) done();
      else onDrain = () => done();
    },
    final: (done) => {
      stream.end();
      done();
    },
  });
  Object.assign(socket, { setTimeout: () => socket, setNoDelay: () => socket });
  return {
    socket,
    events: {
      onData: (chunk: Uint8Array) => {
        if (!socket.push(Buffer.from(chunk))) stream.pause();
      },
      onDrain: () => onDrain(),
      onEnd: () => void socket.push(null),
      onClose: () => void socket.destroy(),
    },
  };
}

function client(edge: EdgeUnderTest): WebSocket {
  return new WebSocket(`wss://${HOST}:${edge.edge.httpsPort}/ws`, {
    ca: edge.ca,
    servername: HOST,
    lookup: (_host: string, options: { all?: boolean }, done: (...args: unknown[]) => void) =>
      options.all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
  } as object);
}

test('WebSockets echo text, binary, fragments and large messages, and close in order', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: webSocketEcho() });
  const socket = client(edge);
  await once(socket, 'open');
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
    const sent = randomBytes(size);
    socket.send(sent);
    assert.deepEqual((await once(socket, 'message'))[0], sent);
  }
  socket.send('grüße');
  assert.equal(String((await once(socket, 'message'))[0]), 'grüße');
  socket.send('half ', { fin: false });
  socket.send('whole', { fin: true });
  assert.equal(String((await once(socket, 'message'))[0]), 'half whole');
  socket.ping('x');
  assert.equal(String((await once(socket, 'pong'))[0]), 'x');
  socket.close(1_000, 'done');
  const [code] = (await once(socket, 'close')) as [number];
  assert.equal(code, 1_000);
  assert.equal((await edge.logged(({ message }) => message === 'request'))['status'], 101);
});

test('two hundred WebSockets at once', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: webSocketEcho() });
  const sockets = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const socket = client(edge);
      await once(socket, 'open');
      return socket;
    }),
  );
  await Promise.all(
    sockets.map(async (socket, i) => {
      socket.send(`m${i}`);
      assert.equal(String((await once(socket, 'message'))[0]), `m${i}`);
      socket.close();
      await once(socket, 'close');
    }),
  );
});

const upgrade = (host: string = HOST): string =>
  `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n`;

test('bytes sent right behind the request arrive, and each end may finish first', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({ m1: echoing(101, [['upgrade', 'raw']]) });
  const socket = await edge.connect();
  const all = readAll(socket);
  socket.write(`${upgrade()}early `);
  socket.write('late');
  socket.end();
  assert.match(
    await all,
    /^HTTP\/1\.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: raw\r\n\r\nearly late$/,
  );
});

test('a service that declines answers like any other', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 403, fields: [...TEXT, ['content-length', '2']] });
      stream.write(Buffer.from('no'));
      stream.end();
      return {};
    }),
  });
  assert.match(await edge.raw(upgrade()), /^HTTP\/1\.1 403 [\s\S]*Connection: close\r\n\r\nno$/);
});

test('an upgrade to nobody is an error page', async () => {
  await using edge = await EdgeUnderTest.start();
  edge.route({ host: HOST, deployment: 'd', service: 'web', members: [] });
  assert.match(await edge.raw(upgrade()), /^HTTP\/1\.1 503 /);
  assert.match(await edge.raw(upgrade('other.localhost')), /^HTTP\/1\.1 421 /);
});

test('a client that leaves a WebSocket resets its stream, a member that leaves ends the socket', async () => {
  await using edge = await EdgeUnderTest.start();
  const closed = Promise.withResolvers<string | undefined>();
  let reset = (): void => undefined;
  let over = false;
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 101, fields: [] });
      reset = () => stream.reset('SERVICE_RESET');
      return {
        // The client's end may be half a close; only writing shows that nobody is there.
        onEnd: () => {
          const write = (): void => {
            if (over || !stream.write(Buffer.alloc(1_000))) return;
            setImmediate(write);
          };
          write();
        },
        onClose: (code) => {
          over = true;
          closed.resolve(code);
        },
      };
    }),
  });
  const first = await edge.connect();
  first.write(upgrade());
  await once(first, 'data');
  first.destroy();
  assert.equal(await closed.promise, 'CLIENT_GONE');
  const second = await edge.connect();
  second.write(upgrade());
  await once(second, 'data');
  const gone = once(second, 'close');
  reset();
  await gone;
});
