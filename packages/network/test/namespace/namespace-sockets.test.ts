import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Socket, createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { silentLogger } from '@moat/core';
import { MemoryHub } from '../memory-links.ts';
import { PEERS, contract, machine, targeting, viewOf } from '../shop.ts';
import { openNamespaceSockets, type NamespaceSockets } from '../../src/namespace/namespace-sockets.ts';

const run = promisify(execFile);
const NAME = `moat-ns-${randomBytes(3).toString('hex')}`;
const skip = process.getuid?.() === 0 ? false : 'only root may make network namespaces';

describe('sockets of another network namespace', { skip }, () => {
  let sockets: NamespaceSockets;

  before(async () => {
    await run('ip', ['netns', 'add', NAME]);
    await run('ip', ['-n', NAME, 'link', 'set', 'lo', 'up']);
    sockets = await openNamespaceSockets({ logger: silentLogger }, { path: `/run/netns/${NAME}` });
  });
  after(async () => {
    await sockets?.stop();
    await run('ip', ['netns', 'delete', NAME]);
  });

  const inside = async (script: string): Promise<string> =>
    (await run('ip', ['netns', 'exec', NAME, process.execPath, '-e', script], { timeout: 10_000 })).stdout;

  it('listen there and are served here', async (t) => {
    const server = createServer((socket) => socket.end('from the agent'));
    t.after(() => server.close());
    await new Promise<void>(
      (resolve) =>
        void sockets.bindTcp({ host: '127.9.9.9', port: 80 }).then((handle) => server.listen(handle, resolve)),
    );
    const script = `require('net').connect(80, '127.9.9.9').on('data', (d) => process.stdout.write(d))`;
    assert.equal(await inside(script), 'from the agent');
    await assert.rejects(run('bash', ['-c', 'exec 3<>/dev/tcp/127.9.9.9/80']));
    await assert.rejects(sockets.bindTcp({ host: '127.9.9.9', port: 80 }), { code: 'EADDRINUSE' });
  });

  it('answer datagrams', async (t) => {
    const socket = await sockets.bindUdp({ host: '127.0.0.53', port: 53 });
    t.after(() => socket.close());
    socket.on('message', (message, { port, address }) => socket.send(`re: ${message.toString()}`, port, address));
    const script = `const s = require('dgram').createSocket('udp4');
      s.on('message', (m) => { process.stdout.write(m); s.close(); }); s.send('q', 53, '127.0.0.53')`;
    assert.equal(await inside(script), 're: q');
  });

  it('connect from inside, and no other way', async (t) => {
    const server = createServer((socket) => socket.end(`you are ${socket.remoteAddress}`));
    t.after(() => server.close());
    const handle = await sockets.bindTcp({ host: '127.0.0.1', port: 9000 });
    await new Promise<void>((resolve) => server.listen(handle, resolve));
    const ask = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = new Socket({ handle: sockets.takeUnconnected(4) } as object);
        socket.on('error', reject).on('data', (data: Buffer) => resolve(data.toString()));
        socket.connect({ host: '127.0.0.1', port: 9000 });
      });
    assert.deepEqual(await Promise.all([ask(), ask()]), ['you are 127.0.0.1', 'you are 127.0.0.1']);
  });

  it('are where a whole network stands: listeners and targets inside, nothing outside', async (t) => {
    const hub = new MemoryHub();
    const service = createServer((socket) => void socket.on('error', () => undefined).pipe(socket));
    const target = await sockets.bindTcp({ host: '127.0.0.1', port: 7000 });
    await new Promise<void>((resolve) => service.listen(target, resolve));
    t.after(() => service.close());
    await using web = machine(hub, 'web-1', PEERS.web1, { loopback: true, inside: sockets });
    await using db = machine(hub, 'db-1', PEERS.db1, { inside: sockets });
    db.expose(7000);
    const view = viewOf({ ...targeting({ db: 7000 }), members: contract().members.slice(0, 3) });
    await Promise.all([web.network.update(view), db.network.update(view)]);
    const { address, port } = web.network.services().find(({ name }) => name === 'db') ?? {};
    const script = `const s = require('net').connect(${port}, '${address}', () => s.end('through'));
      s.on('data', (d) => process.stdout.write(d)); s.setTimeout(5000, () => s.destroy())`;
    assert.equal(await inside(script), 'through');
    await assert.rejects(run('bash', ['-c', `exec 3<>/dev/tcp/${address}/${port}`]));
  });

  it('are refused by their code where the namespace is none', async () => {
    const path = '/run/netns/moat-no-such';
    await assert.rejects(openNamespaceSockets({ logger: silentLogger }, { path }), { code: 'NETNS_FAILED' });
  });
});
