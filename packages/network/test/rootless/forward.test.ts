import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { isMoatError, systemClock, type LinkStream } from '@moat/core';
import { serveTcp } from '../../src/connector/tcp.ts';
import { createForward } from '../../src/index.ts';
import { createStreamPair } from '../../src/stream-pair.ts';
import { rawServer } from '../peer.ts';

/** Opens streams straight to a server of this machine. */
function opener(target: { host: string; port: number }): { open(): Promise<LinkStream> } {
  return {
    open: () => {
      const request = { deployment: 'd', service: 'db', kind: 'tcp' } as const;
      const { opened, accepted } = createStreamPair({ request, opener: 'a', acceptor: 'b' });
      serveTcp({ clock: systemClock, isOwnSocket: () => false }, accepted, { target }, () => undefined);
      return Promise.resolve(opened);
    },
  };
}

async function temporary(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'moat-forward-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

suite('forward', () => {
  test('a service at a port of one own choice', async () => {
    await using server = await rawServer((socket) => socket.end('hello'));
    await using forward = await createForward(opener(server), 'db', { port: 0 });
    assert.ok('port' in forward.place && forward.place.port > 0);
    const socket = connect({ host: '127.0.0.1', port: forward.place.port });
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    assert.equal(chunk.toString(), 'hello');
    const closed = new Promise((resolve) => socket.once('error', resolve));
    await Promise.all([closed, forward.stop()]);
  });

  test('a service at a Unix socket only its owner may use', async () => {
    await using directory = await temporary();
    const path = join(directory.path, 'db.sock');
    await using server = await rawServer((socket) => socket.end('hello'));
    const forward = await createForward(opener(server), 'db', { path });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    const socket = connect({ path });
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    assert.equal(chunk.toString(), 'hello');
    await Promise.all([once(socket, 'close'), forward.stop()]);
    await assert.rejects(stat(path));
  });

  test('a socket file left by a crash is replaced; a live one and any other file is not', async () => {
    await using directory = await temporary();
    await using server = await rawServer((socket) => socket.end('hello'));
    const path = join(directory.path, 'db.sock');
    const live = createServer().listen(path);
    await once(live, 'listening');
    await assert.rejects(createForward(opener(server), 'db', { path }), (error: unknown) =>
      isMoatError(error, 'LISTEN_FAILED'),
    );
    live.close();
    await once(live, 'close');
    await writeFile(path, 'precious');
    await assert.rejects(createForward(opener(server), 'db', { path }), (error: unknown) =>
      isMoatError(error, 'LISTEN_FAILED'),
    );
    assert.equal((await stat(path)).size, 8);
  });

  test('LISTEN_FAILED when the port is taken', async () => {
    await using server = await rawServer(() => undefined);
    await assert.rejects(createForward(opener(server), 'db', { port: server.port }), (error: unknown) =>
      isMoatError(error, 'LISTEN_FAILED'),
    );
  });
});
