/** What an outsider can do, and can never do (architecture.md §2): nobody knows it, and it may learn nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { connect as connectTls } from 'node:tls';
import { after, before, suite, test } from 'node:test';
import { bundleFor, createClaim, createInvite, createOwnerProof, formatTime } from '@moat/contract';
import type { PeerConnection } from '@moat/core';
import { createNodeKey, createOwnerKey } from '@moat/identity';
import { eventually } from '../e2e/machine.ts';
import { Pen, pinned, publication } from './pen.ts';
import { Shop } from './shop.ts';
import { Flood } from './twins/flood.ts';
import { distinguishable } from './distinguishable.ts';
import { Twin, framed, unframed } from './twins/twin.ts';

suite('outsider', () => {
  let shop: Shop;
  let stranger: Twin;

  before(async () => {
    shop = await Shop.open();
    stranger = await Twin.start();
    await eventually('the gateway serves', () => shop.served());
  });

  after(async () => {
    await stranger[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  test('can: reach published names', async () => {
    assert.equal((await shop.world.gateway.browser.fetch('shop.localhost')).text, 'hello from web\n');
  });

  test('can never: reach anything but a published name at the gateway', async () => {
    const { browser } = shop.world.gateway;
    const requests = shop.web.requests;
    for (const host of ['db.localhost', 'private.localhost', 'shop.localhost.evil', 'web.shop.internal']) {
      await assert.rejects(browser.fetch(host), /unrecognized name/, host);
    }
    assert.notEqual((await browser.fetch('localhost')).headers['x-service'], 'web');
    // a name that is served in the handshake, another one in the request
    for (const host of ['db.shop.internal', '127.0.0.1', `127.0.0.1:${shop.db.port}`, 'private.localhost']) {
      const answer = await browser.fetch('shop.localhost', { headers: { host } });
      assert.ok([400, 404, 421].includes(answer.status), `${host}: ${answer.status}`);
    }
    assert.equal(shop.web.requests, requests);
    // as a proxy: absolute form, CONNECT, and a path that climbs
    for (const line of [
      `GET http://127.0.0.1:${shop.db.port}/ HTTP/1.1`,
      `CONNECT 127.0.0.1:${shop.db.port} HTTP/1.1`,
      'GET //db.shop.internal/ HTTP/1.1',
      'GET /../../etc/passwd HTTP/1.1',
    ]) {
      const answer = await raw(`${line}\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n`);
      assert.match(answer, /^HTTP\/1\.1 (200|400|404|405|421|501) /, line);
      assert.ok(!answer.includes('root:'));
    }
    assert.deepEqual([shop.db.came, shop.private.came], [0, 0]);
  });

  test('can never: open any port of a member: a node that takes nothing in still serves', async () => {
    // an agent without inbound ports joins, and its name answers
    const world = shop.world;
    await world.agent('web').kill();
    const agent = world.machine('web').spawnAgent(['--no-mdns', '--no-inbound']);
    await world.machine('web').agentReady(agent);
    assert.deepEqual(
      listeningOf(agent.pid).filter((address) => !address.startsWith('127.')),
      [],
    );
    await eventually('it serves all the same', () => shop.served().catch(() => false), 30_000);
    await agent.kill('SIGTERM');
    await world.restart('web');
    await eventually('it serves as before', () => shop.served().catch(() => false), 30_000);
  });

  test('can never: use the local API: the socket is the operator’s', async () => {
    const path = shop.world.machine('hub').path('state', 'agent.sock');
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    if (process.getuid?.() !== 0) return;
    const script = `require('node:net').connect('${path}').on('connect',()=>process.exit(0)).on('error',(e)=>{console.log(e.code);process.exit(1)})`;
    assert.throws(
      () =>
        execFileSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '-e', script], {
          stdio: 'pipe',
        }),
      (error: Error & { stdout?: Buffer }) => String(error.stdout).includes('EACCES'),
    );
  });

  test('can never: get an answer from any protocol but hello, join at a keeper, publish and relay at a gateway', async () => {
    const open: Record<string, readonly string[]> = {
      hub: ['/moat/hello/1', '/moat/join/1'],
      app: ['/moat/hello/1'],
    };
    for (const [name, allowed] of Object.entries(open)) {
      const connection = await stranger.dial(shop.addresses[name] ?? []);
      for (const protocol of [
        '/moat/heads/1',
        '/moat/link/1',
        '/moat/link-stream/1',
        '/moat/publish/1',
        '/moat/join/1',
        '/moat/proposals/1',
        '/moat/splice/1',
        '/moat/id/1.0.0',
        '/moat/ping/1.0.0',
        '/libp2p/circuit/relay/0.2.0/hop',
        '/libp2p/circuit/relay/0.2.0/stop',
      ]) {
        if (allowed.includes(protocol)) continue;
        const { answer, ending } = await stranger.sendRaw(connection, protocol, framed({ kind: 'pull', type: 'ask' }));
        assert.equal(answer.length, 0, `${name} ${protocol}`);
        assert.notEqual(ending, 'open', `${name} ${protocol}`);
      }
    }
  });

  test('can never: tell a deployment that a node knows from one that it does not', async () => {
    // eight hellos a connection and a machine of its own each time, so that no limit of a peer is measured
    const hello = async (twin: Twin, connection: PeerConnection, deployment: string): Promise<Buffer> => {
      const list = Buffer.from(JSON.stringify({ deployments: [deployment] }).padEnd(1024));
      return (await twin.sendRaw(connection, '/moat/hello/1', framed(list))).answer;
    };
    const answers = new Set<string>();
    const unknown = 'z'.repeat(26);
    const verdict = await distinguishable({
      rounds: 24,
      begin: async () => {
        const twin = await Twin.start();
        const connection = await twin.dial(shop.addresses['hub'] ?? []);
        await hello(twin, connection, unknown);
        return {
          ask: async (known: boolean) => {
            answers.add((await hello(twin, connection, known ? shop.pen.deployment : unknown)).toString());
          },
          end: () => twin[Symbol.asyncDispose](),
        };
      },
      asksARound: 6,
    });
    assert.equal(answers.size, 1, 'the same bytes');
    assert.deepEqual(
      unframed(Buffer.from([...answers][0] ?? '')).map((message) => [message.length, JSON.parse(String(message))]),
      [[1024, { deployments: [] }]],
    );
    assert.ok(!verdict.distinguishable, `the time tells: ${JSON.stringify(verdict)}`);
  });

  test('can never: tell from a refusal to join whether deployment, invite or machine are known', async () => {
    const answers = new Set<string>();
    const requests = {
      known: () => joinRequest(shop.pen.deployment),
      unknown: () => joinRequest('z'.repeat(26)),
      member: () => joinRequest(shop.pen.deployment, 'web'),
    };
    const verdict = await distinguishable({
      rounds: 6,
      begin: async () => {
        const twin = await Twin.start();
        const connection = await twin.dial(shop.addresses['hub'] ?? []);
        return {
          ask: async (known: boolean) => {
            const request = known ? requests.known() : requests.unknown();
            const { answer } = await twin.sendRaw(connection, '/moat/join/1', framed(request));
            answers.add(answer.toString('base64'));
          },
          end: () => twin[Symbol.asyncDispose](),
        };
      },
      asksARound: 4,
    });
    const connection = await stranger.dial(shop.addresses['hub'] ?? []);
    answers.add(
      (await stranger.sendRaw(connection, '/moat/join/1', framed(requests.member()))).answer.toString('base64'),
    );
    assert.equal(answers.size, 1, 'the same bytes');
    assert.ok(!verdict.distinguishable, `the time tells: ${JSON.stringify(verdict)}`);
  });

  test('can never: tell from a refused proof of an owner whether the deployment is known', async () => {
    const answers = new Set<string>();
    const verdict = await distinguishable({
      rounds: 6,
      begin: async () => {
        const twin = await Twin.start();
        const connection = await twin.dial(shop.addresses['hub'] ?? []);
        return {
          ask: async (known: boolean) => {
            const deployment = known ? shop.pen.deployment : 'z'.repeat(26);
            const fields = { deployment, dialer: twin.peer, keeper: shop.peer('hub'), time: formatTime(Date.now()) };
            const owner = createOwnerProof(fields, createOwnerKey().signer);
            const { answer } = await twin.sendRaw(connection, '/moat/join/1', framed({ owner }));
            answers.add(answer.toString('base64'));
          },
          end: () => twin[Symbol.asyncDispose](),
        };
      },
      asksARound: 4,
    });
    assert.equal(answers.size, 1, 'the same bytes');
    assert.ok(!verdict.distinguishable, `the time tells: ${JSON.stringify(verdict)}`);
  });

  test('can never: take more of a gateway than one client may: the others are served', async () => {
    // 2,048 connections are one client's
    using flood = await Flood.start({ port: shop.world.gateway.port, sockets: 2300, addresses: 1 });
    await eventually('the rest were turned away', async () => flood.open <= 2048);
    assert.equal(await shop.served(), true);
  });

  test('can never: tell a service that a request came from somebody else', async () => {
    for (const connection of ['close', 'close, X-Forwarded-For, X-Real-Ip, Forwarded, X-Forwarded-Proto, Host']) {
      const spoofed = ['X-Forwarded-For', 'X-Real-IP', 'x-forwarded-user', 'X-Forwarded-Host', 'x_forwarded_for'];
      const fields = spoofed.map((name) => `${name}: 203.0.113.99\r\n`).join('');
      const answer = await raw(
        `GET / HTTP/1.1\r\nHost: shop.localhost\r\nForwarded: for=203.0.113.99\r\n${fields}Connection: ${connection}\r\n\r\n`,
      );
      if (!answer.startsWith('HTTP/1.1 200')) {
        assert.match(answer, /^HTTP\/1\.1 400 /);
        continue;
      }
      const seen = shop.web.lastFields.map((field) => field.toLowerCase());
      assert.ok(!seen.some((field) => field.includes('203.0.113.99')), seen.join('\n'));
      assert.equal(seen[seen.indexOf('x-forwarded-for') + 1], '127.0.0.1');
    }
  });

  test('can never: take a name that another deployment holds', async () => {
    const { domain, peers } = shop.world.gateway.pin;
    const own = new Pen();
    own.current = own.write({
      name: 'thief',
      members: [pinned('me', 2, stranger.peer, { keeper: true })],
      services: [{ name: 'web', on: ['me'], port: 80, target: '127.0.0.1:80', protocol: 'http' }],
      publish: [publication('shop', 'web', domain, peers)],
    });
    const gateway = peers[0]?.split('/p2p/')[1] ?? '';
    const bundle = bundleFor(own.version.proof, own.version.contract, [], gateway);
    const answer = await stranger.overlay.publish(await stranger.dial(peers), bundle, AbortSignal.timeout(10_000));
    assert.equal(!answer.ok && answer.code, 'NAME_HELD');
    assert.equal((await shop.world.gateway.browser.fetch('shop.localhost')).text, 'hello from web\n');
  });

  function joinRequest(deployment: string, member = 'laptop'): object {
    const details = { nonce: 'A'.repeat(22), member, wireguard: null };
    const inviteSigner = createInvite(randomBytes(32)).signer;
    return { signed: createClaim({ deployment, details, nodeSigner: createNodeKey().signer, inviteSigner }), details };
  }

  /** Sends raw bytes over TLS to the gateway under a name it serves. */
  async function raw(text: string): Promise<string> {
    const socket = connectTls(shop.world.gateway.browser.tls('shop.localhost'));
    let received = '';
    socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.write(text);
    await once(socket, 'close');
    return received;
  }
});

/** Addresses a process listens on. */
function listeningOf(pid: number): string[] {
  const lines = execFileSync('ss', ['-H', '-tlnp']).toString().split('\n');
  return lines.filter((line) => line.includes(`pid=${pid},`)).map((line) => line.trim().split(/\s+/)[3] ?? '');
}
