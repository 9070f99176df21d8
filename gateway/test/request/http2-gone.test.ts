/** Clients of HTTP/2 that leave: what runs for them ends with them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type ClientHttp2Session } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { test } from 'node:test';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { member, TEXT } from '../member.ts';

/** An answer that goes on in silence, as events that nobody has sent yet. Gives what its streams ended with. */
function listening(edge: EdgeUnderTest): readonly (string | undefined)[] {
  const closed: (string | undefined)[] = [];
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      return { onClose: (code) => void closed.push(code) };
    }),
  });
  return closed;
}

test('a client that closes its connection leaves nothing behind, though its service is silent', async () => {
  await using edge = await EdgeUnderTest.start();
  const closed = listening(edge);
  const socket = connectTls({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    ca: edge.ca,
    servername: HOST,
    ALPNProtocols: ['h2'],
  });
  await once(socket, 'secureConnect');
  const session: ClientHttp2Session = connect(`https://${HOST}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  const stream = session.request({ ':path': '/events' });
  stream.on('error', () => undefined);
  await once(stream, 'response');
  assert.deepEqual([edge.edge.counts.running, edge.edge.counts.connections], [1, 1]);
  // Whoever leaves in order says so by the end of its bytes; a reset comes only to those who send to it.
  socket.end();
  const line = await edge.logged(({ message }) => message === 'request');
  assert.equal(line['code'], 'CLIENT_GONE');
  assert.equal(edge.edge.counts.running, 0);
  while (closed.length === 0 || edge.edge.counts.connections > 0) await new Promise((resolve) => setImmediate(resolve));
});

/** A frame of HTTP/2. */
function frame(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** A field as HPACK writes it without its tables. */
function literal(name: string, value: string): Buffer {
  const part = (text: string): Buffer => Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
  return Buffer.concat([Buffer.of(0), part(name), part(value)]);
}

test('a client whose reset comes while the gateway can only write is let go within a second or two', async () => {
  await using edge = await EdgeUnderTest.start({ limits: { headMs: 1_000 } });
  const written = { parts: 0 };
  edge.publish({
    m1: member((stream) => {
      stream.writeHead({ status: 200, fields: TEXT });
      const fill = (): void => {
        while (stream.write(Buffer.alloc(16_384))) written.parts += 1;
      };
      setImmediate(fill);
      return { onDrain: fill };
    }),
  });
  const tcp = connectTcp({ host: '127.0.0.1', port: edge.edge.httpsPort });
  const socket = connectTls({ socket: tcp, ca: edge.ca, servername: HOST, ALPNProtocols: ['h2'] });
  for (const each of [tcp, socket]) each.on('error', () => undefined);
  await once(socket, 'secureConnect');
  const fields = { ':method': 'GET', ':scheme': 'https', ':authority': HOST, ':path': '/' };
  const windows = [Buffer.from('000400ffffff', 'hex'), Buffer.from('3fffffff', 'hex')] as const;
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(Buffer.concat([frame(4, 0, 0, windows[0]), frame(8, 0, 0, windows[1])]));
  socket.write(frame(1, 5, 1, Buffer.concat(Object.entries(fields).map((field) => literal(...field)))));
  // Nothing of the answer is read, so that the gateway is in the middle of a write when the reset comes.
  let before = -1;
  while (before < written.parts || written.parts === 0) {
    before = written.parts;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  tcp.resetAndDestroy();
  const line = await edge.logged(({ message }) => message === 'request');
  assert.equal(line['code'], 'CLIENT_GONE');
  while (edge.edge.counts.connections > 0) await new Promise((resolve) => setImmediate(resolve));
});
