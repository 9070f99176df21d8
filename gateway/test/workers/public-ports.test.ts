import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { canShareListeners } from '../../src/workers/shares.ts';
import { PublicPort } from '../../src/workers/public-ports.ts';

const skip = canShareListeners() ? false : 'this system cannot share a port among processes';
/** A process that answers each connection with its name. */
const SERVER = `const [, name] = process.argv;
require('node:net').createServer((s) => s.end(name)).listen({ fd: 3 }, () => console.log('listening'));`;

interface Child {
  stop(): Promise<void>;
}

async function serve(name: string, fd: number): Promise<Child> {
  const child = spawn(process.execPath, ['-e', SERVER, name], { stdio: ['ignore', 'pipe', 'inherit', fd] });
  await once(child.stdout ?? assert.fail('no output'), 'data');
  return {
    async stop() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}

async function answer(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  for await (const chunk of socket.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  return text;
}

test(
  'connections spread over the sockets of one port; those of a dead process wait for the next',
  { skip },
  async () => {
    using port = await PublicPort.bind({ host: '127.0.0.1', port: 0 }, 2);
    const [a, b] = await Promise.all([serve('a', port.fd(0)), serve('b', port.fd(1))]);
    const asked = (count: number): Promise<string>[] => Array.from({ length: count }, () => answer(port.port));
    assert.deepEqual(new Set(await Promise.all(asked(64))), new Set(['a', 'b']));
    await a.stop();
    const waiting = asked(64);
    const next = await serve('next', port.fd(0));
    const answers = await Promise.all(waiting);
    assert.deepEqual(new Set(answers), new Set(['b', 'next']));
    await Promise.all([b.stop(), next.stop()]);
  },
);

test('a port that another process has is refused, also where that one would share it', { skip }, async () => {
  const other = createServer().listen({ host: '127.0.0.1', port: 0, reusePort: true });
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await assert.rejects(PublicPort.bind({ host: '127.0.0.1', port }, 2), { code: 'LISTEN_FAILED' });
  other.close();
});

test('a host name is looked up, an address that is not ours is refused', { skip }, async () => {
  using port = await PublicPort.bind({ host: 'localhost', port: 0 }, 1);
  assert.ok(port.port > 0);
  await assert.rejects(PublicPort.bind({ host: '192.0.2.1', port: 0 }, 1), { code: 'LISTEN_FAILED' });
});
