/** Clients of HTTP/2 that leave: what runs for them ends with them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type ClientHttp2Session } from 'node:http2';
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
