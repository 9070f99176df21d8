/** `--access private`: users of the machine who may not read the agent's files reach nothing through it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { createAgentClient, type NodeStatus } from '@moat/admin-api';
import { stringify } from 'yaml';
import { freePort } from '@moat/testkit';
import { Machine, eventually } from './machine.ts';

suite('private access', () => {
  let web: Server;
  let machine: Machine;
  let status: NodeStatus;
  let said: string;

  before(async () => {
    web = createServer((_, response) => response.end('inside')).listen(0, '127.0.0.1');
    await once(web, 'listening');
    const { port } = web.address() as AddressInfo;
    machine = await Machine.create('private');
    const listen = `/ip4/127.0.0.1/tcp/${await freePort()}`;
    const flags = ['--no-mdns', '--access', 'private', '--listen', listen, '--link-port', 'off', '--socks-port', '0'];
    const agent = await machine.startAgent(flags);
    // What it prints comes by another way than the answer of its API.
    said = await eventually('it says who may use it', async () => agent.output.includes('private:') && agent.output);
    status = await createAgentClient({ socketPath: machine.path('state', 'agent.sock') }).status();
    await machine.ok(['key', 'new', '--plain']);
    const file = {
      version: 1,
      name: 'shop',
      anchors: [],
      members: { home: { node: status.peerId, keeper: true } },
      services: { web: { on: ['home'], port: 80, target: `127.0.0.1:${port}`, protocol: 'http' } },
      access: [{ from: ['home'], to: ['web'] }],
    };
    await machine.write('moat.yaml', stringify(file));
    await machine.ok(['apply', '--yes']);
    await machine.ok(['node', 'expose', String(port), '--to', 'shop']);
  });

  after(async () => {
    await machine[Symbol.asyncDispose]();
    web.close();
  });

  test('the agent says which mode it is and where the password lies, and opens no name service', () => {
    assert.match(
      said,
      /private: only Unix sockets \(moat forward\), and the proxy with the password in .*proxy\.password/,
    );
    assert.equal(status.dns, null);
    assert.ok(!said.includes('LOOPBACK_SHARED'));
  });

  test('moat run gives its program the way in', async (t) => {
    const run = machine.spawn(['run', '--', 'curl', '-sS', '--max-time', '10', 'http://web.shop.internal/']);
    const [code] = (await once(run.child, 'close')) as [number];
    if (code === 5) t.skip('curl is not installed');
    else assert.match(run.output, /inside/);
  });

  test('whoever has no password is refused in either protocol', async () => {
    const { port = 0 } = status.socks ?? {};
    const ask = async (bytes: string): Promise<string> => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.setEncoding('latin1').write(bytes, 'latin1');
      const [answer] = (await once(socket, 'data')) as [string];
      socket.destroy();
      return answer;
    };
    assert.match(await ask('CONNECT web.shop.internal:80 HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 407 /);
    assert.equal(await ask('\x05\x01\x00'), '\x05\xff');
  });

  test('status shows no loopback address of a service', async () => {
    const { services } = await createAgentClient({ socketPath: machine.path('state', 'agent.sock') }).deployment(
      'shop',
    );
    assert.deepEqual(
      services.map(({ local }) => local),
      [null],
    );
  });
});
