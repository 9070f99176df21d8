/** A gateway that keeps no rule meets a member that does. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Contract, PublishRules } from '@moat/contract';
import type { Link } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { MemoryHub } from './memory-links.ts';
import { Peer, rawServer, requestHead, type RawServer } from './peer.ts';
import { DEPLOYMENT, PEERS, contract, machine, targeting, viewOf, type Machine } from './shop.ts';

const NEVER = new AbortController().signal;

const under = (rules: PublishRules, name: string = 'shop'): Contract['publish'][number] => ({
  ...(contract().publish[0] as Contract['publish'][number]),
  name,
  rules,
});

function service(): Promise<RawServer> {
  return rawServer((socket) => {
    socket.once('data', (chunk: Buffer) => {
      if (!chunk.toString().startsWith('GET /wait')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi');
    });
  });
}

interface Asked {
  readonly address?: string;
  readonly authority?: string;
  readonly target?: string;
}

function open(link: Link, { address = '192.0.2.1', authority = 'shop.apps.example', target = '/' }: Asked = {}): Peer {
  const head = requestHead({ authority, target, fields: [['x-real-ip', address]] });
  const peer = new Peer(link.open({ deployment: DEPLOYMENT, service: 'web', kind: 'http' }, head));
  peer.stream.end();
  return peer;
}

async function outcome(link: Link, asked?: Asked): Promise<string> {
  const peer = await open(link, asked).end();
  return peer.closed?.code ?? String(peer.answer?.status);
}

suite('enforce: member', () => {
  const begin = async (web: Machine, port: number, publish: Contract['publish']): Promise<void> => {
    web.expose(port, { public: true });
    await web.network.update(viewOf({ ...targeting({ web: port }), publish }));
  };

  test('past the rate streams are reset, whatever addresses the gateway makes up; a new version gives no more', async () => {
    const hub = new MemoryHub();
    const clock = createManualClock(Date.now());
    await using server = await service();
    await using web = machine(hub, 'web-1', PEERS.web1, { clock });
    const rate = { each: { count: 1, perMs: 60_000 }, all: { count: 3, perMs: 60_000 } } as const;
    await begin(web, server.port, [under({ rate, enforce: 'member' })]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    assert.equal(await outcome(link), '200');
    assert.equal(await outcome(link), 'PUBLIC_RATE', 'one a minute of each');
    assert.equal(await outcome(link, { address: '192.0.2.2' }), '200');
    assert.equal(await outcome(link, { address: '192.0.2.3', authority: 'nobody.knows' }), '200');
    assert.equal(await outcome(link, { address: '192.0.2.4' }), 'PUBLIC_RATE', 'three a minute of all');
    assert.equal(await outcome(link, { address: '192.0.2.5', authority: '' }), 'PUBLIC_RATE');
    await begin(web, server.port, [under({ rate, enforce: 'member' })]);
    assert.equal(await outcome(link, { address: '192.0.2.6' }), 'PUBLIC_RATE');
    clock.advance(60_000);
    assert.equal(await outcome(link), '200');
  });

  test('so many at once, and room again however one ends', async () => {
    const hub = new MemoryHub();
    await using server = await service();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await begin(web, server.port, [under({ concurrency: 1, enforce: 'member' })]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    for (let i = 0; i < 3; i++) {
      const waiting = open(link, { target: '/wait' });
      assert.equal(await outcome(link), 'PUBLIC_BUSY');
      waiting.stream.reset('CLIENT_GONE');
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(await outcome(link), '200');
    }
  });

  test('what began under one version of the rules leaves its place under the next', async () => {
    const hub = new MemoryHub();
    await using server = await service();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await begin(web, server.port, [under({ concurrency: 1, enforce: 'member' })]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    const waiting = open(link, { target: '/wait' });
    await begin(web, server.port, [under({ concurrency: 1, retries: 0, enforce: 'member' })]);
    assert.equal(await outcome(link), 'PUBLIC_BUSY');
    waiting.stream.reset('CLIENT_GONE');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await outcome(link), '200');
  });

  test('other lines and other openers are not counted', async () => {
    const hub = new MemoryHub();
    await using server = await service();
    await using web = machine(hub, 'web-1', PEERS.web1);
    const rate = { all: { count: 1, perMs: 3_600_000 } } as const;
    await begin(web, server.port, [under({ rate, enforce: 'member' }), under({ rate }, 'free')]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    assert.deepEqual([await outcome(link), await outcome(link)], ['200', 'PUBLIC_RATE']);
    for (let i = 0; i < 3; i++) assert.equal(await outcome(link, { authority: 'free.apps.example' }), '200');
    const member = await hub.links(PEERS.db1).connect(PEERS.web1, NEVER);
    for (let i = 0; i < 3; i++) assert.equal(await outcome(member), '200');
  });
});
