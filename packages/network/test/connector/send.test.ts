import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { suite, test } from 'node:test';
import { RequestSender } from '../../src/connector/request-sender.ts';
import { sendCopies, sendShared, sharedBuffer } from '../../src/connector/send.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { rawServer, type RawServer } from '../peer.ts';

/** A connected socket, and what the other side reads of it. */
async function pair(
  server: RawServer,
): Promise<{ socket: Socket; far: Socket; read: (bytes: number) => Promise<string> }> {
  const accepted = once(server.server, 'connection') as Promise<[Socket]>;
  const socket = connect({ host: server.host, port: server.port, noDelay: true });
  await once(socket, 'connect');
  const [far] = await accepted;
  const read = async (bytes: number): Promise<string> => {
    let text = '';
    while (text.length < bytes) {
      const chunk = far.read() as Buffer | null;
      if (chunk === null) await once(far, 'readable');
      else text += chunk.toString('latin1');
    }
    return text;
  };
  return { socket, far, read };
}

suite('sending what is borrowed', () => {
  test('bytes are the socket’s own when the call returns', async () => {
    await using server = await rawServer((socket) => socket.pause());
    const { socket, read } = await pair(server);
    const chunk = Buffer.from('a'.repeat(1_000));
    sendCopies(socket, ['<', chunk, '>']);
    chunk.fill('X');
    const into = sharedBuffer();
    into.fill('b', 0, 500);
    sendShared(socket, 500);
    sharedBuffer().fill('Y');
    assert.equal(await read(1_502), `<${'a'.repeat(1_000)}>${'b'.repeat(500)}`);
    socket.destroy();
  });

  test('also while the other side reads nothing, and while there is no connection yet', async () => {
    await using server = await rawServer((socket) => socket.pause());
    const accepted = once(server.server, 'connection') as Promise<[Socket]>;
    const socket = connect({ host: server.host, port: server.port });
    let expected = '';
    const chunk = Buffer.alloc(40_000);
    for (let i = 0; i < 400; i++) {
      const letter = String.fromCharCode(97 + (i % 26));
      chunk.fill(letter);
      expected += letter.repeat(chunk.length);
      sendCopies(socket, [chunk]);
      chunk.fill('!');
      // The kernel takes some of it once it is connected, then no more.
      if (i === 5) await once(socket, 'connect');
    }
    assert.ok(socket.writableLength > 0, 'the kernel took everything: nothing was tried');
    const [far] = await accepted;
    let text = '';
    far.on('data', (bytes: Buffer) => (text += bytes.toString('latin1')));
    far.resume();
    socket.end();
    await once(far, 'end');
    assert.ok(text === expected, 'bytes changed on their way');
    socket.destroy();
  });

  test('a head and a small body of the same turn are one write', async () => {
    await using server = await rawServer((socket) => socket.pause());
    const { socket, read } = await pair(server);
    const { accepted } = createStreamPair({
      request: { deployment: 'd', service: 's', kind: 'http' },
      opener: 'a',
      acceptor: 'b',
    });
    let writes = 0;
    const write = socket.write.bind(socket);
    socket.write = (bytes: Uint8Array | string) => ((writes += 1), write(bytes));
    const sender = new RequestSender(socket, accepted, Buffer.from('HEAD'));
    sender.write(['3\r\n', Buffer.from('abc'), '\r\n']);
    sender.write(['0\r\n\r\n']);
    sender.flush();
    assert.equal(writes, 1);
    assert.equal(await read(17), 'HEAD3\r\nabc\r\n0\r\n\r\n');
    // Without a body in its turn the head does not wait for one.
    const alone = new RequestSender(socket, accepted, Buffer.from('NEXT'));
    assert.equal(await read(4), 'NEXT');
    alone.flush();
    const large = new RequestSender(socket, accepted, Buffer.from('LARGE'));
    large.write([Buffer.alloc(20_000, 'x')]);
    assert.equal(writes, 3, 'a large body does not wait');
    assert.equal(await read(20_005), `LARGE${'x'.repeat(20_000)}`);
    socket.destroy();
  });
});
