/** Floods of HTTP/2 frames at a gateway: each ends, memory stays, and everybody else is served meanwhile. */
import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { connect } from 'node:tls';
import { FLAG, FRAME, Http2Wire, http2Request } from '@moat/testkit';
import { eventually, full } from '../e2e/machine.ts';
import { startWebService, type WebService } from '../e2e/web-service.ts';
import { World } from '../e2e/world.ts';
import { HTTP2_FLOODS } from './http2-floods.ts';

const HOST = 'shop.localhost';
/** What the gateway may grow by while it is flooded, and keep. */
const MEMORY_BYTES = 96 * 1_024 * 1_024;
const CONNECTIONS = full ? 20 : 2;
/** How many times longer than in quiet others may wait while a flood runs; of a quiet that is very quiet, this many milliseconds. */
const SLOWER = 3;
const FLOOR_MS = 5;

suite('HTTP/2 floods', { timeout: 240_000 }, () => {
  const world = new World();
  let web: WebService;
  let good: ChildProcess;
  let idleP99Ms = 0;

  before(async () => {
    web = await startWebService('web-1');
    await world.startGateway('open', { limits: { stallTime: '2s' } });
    await world.grow({
      name: 'shop',
      members: { owner: { keeper: true }, 'web-1': { tags: ['web'], expose: [`${web.port},public`] } },
      services: { web: { on: ['tag:web'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
      publish: { shop: 'web' },
    });
    await eventually('shop is public', async () => (await world.gateway.browser.fetch(HOST)).status === 200);
    good = fork(new URL('http2-good-client.ts', import.meta.url), { execArgv: ['--conditions=@moat/source'] });
    good.send({ host: HOST, options: world.gateway.browser.tls(HOST) });
    await served(200);
    idleP99Ms = await served(full ? 2_000 : 10);
  });

  after(async () => {
    good?.disconnect();
    await world[Symbol.asyncDispose]();
    await web?.[Symbol.asyncDispose]();
  });

  /** So many requests of a client that does nothing wrong, one after the other. Returns the 99th percentile. */
  async function served(count: number): Promise<number> {
    const answered = once(good, 'message') as Promise<[{ readonly p99Ms?: number; readonly error?: string }]>;
    good.send({ count });
    const [{ p99Ms, error }] = await answered;
    assert.equal(error, undefined);
    return p99Ms ?? 0;
  }

  async function open(settings?: readonly (readonly [number, number])[]): Promise<Http2Wire> {
    const socket = connect({ ...world.gateway.browser.tls(HOST), ALPNProtocols: ['h2'] });
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    return new Http2Wire(socket).open(settings);
  }

  /** The socket takes more, or is gone. */
  function drained({ socket }: Http2Wire): Promise<void> {
    return new Promise((resolve) => {
      const go = (): void => {
        socket.off('drain', go).off('close', go);
        resolve();
      };
      if (socket.destroyed) resolve();
      else socket.on('drain', go).on('close', go);
    });
  }

  async function resident(): Promise<number> {
    return world.gateway.daemon.residentBytes();
  }

  for (const { name, settings, begin, part, rounds, goaway } of HTTP2_FLOODS) {
    test(name, async () => {
      const before = await resident();
      let peak = before;
      const flood = async (): Promise<Http2Wire> => {
        const wire = await open(settings);
        begin?.(wire, HOST);
        for (let round = 0; round < rounds && !wire.closed; round++) {
          if (!wire.socket.write(part(HOST, round))) {
            await drained(wire);
          }
        }
        if (goaway.length > 0) await wire.end();
        else wire.socket.destroy();
        return wire;
      };
      const measure = setInterval(() => void resident().then((bytes) => (peak = Math.max(peak, bytes))), 50);
      const [wires, p99Ms] = await Promise.all([
        Promise.all(Array.from({ length: CONNECTIONS }, flood)),
        served(full ? 2_000 : 10),
      ]);
      clearInterval(measure);
      for (const wire of wires) {
        // A connection that broke while it was still being written to may have lost the word.
        if (wire.goaway !== undefined && goaway.length > 0)
          assert.ok(goaway.includes(wire.goaway), `GOAWAY ${wire.goaway}`);
        wire.socket.destroy();
      }
      assert.ok(peak - before < MEMORY_BYTES, `grew by ${(peak - before) >> 20} MiB`);
      if (!full) return;
      console.log(`${name}: p99 ${p99Ms.toFixed(1)} ms, idle ${idleP99Ms.toFixed(1)} ms, ${(peak - before) >> 20} MiB`);
      const mostMs = SLOWER * Math.max(idleP99Ms, FLOOR_MS);
      assert.ok(p99Ms <= mostMs, `others waited ${p99Ms.toFixed(1)} ms, ${idleP99Ms.toFixed(1)} ms in quiet`);
    });
  }

  test('a client that takes nothing is given up, and what waits for it is bounded', async () => {
    const before = await resident();
    // A window of 0: no byte of any answer may be sent.
    const wires = await Promise.all(Array.from({ length: CONNECTIONS * 2 }, () => open([[4, 0]])));
    for (const wire of wires) {
      for (let stream = 1; stream < 200; stream += 2) {
        const block = http2Request(HOST, [], { ':path': '/download?bytes=2000000' });
        wire.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, stream, block);
      }
    }
    await served(10);
    const grown = (await resident()) - before;
    assert.ok(grown < wires.length * 32 * 1_024 * 1_024, `grew by ${grown >> 20} MiB`);
    for (const wire of wires) await wire.next(({ type }) => type === FRAME.reset || type === FRAME.goaway);
    for (const wire of wires) wire.socket.destroy();
  });

  test('afterwards all is as before', async () => {
    await served(10);
    assert.ok(world.gateway.daemon.running);
    assert.ok(world.agent('web-1').running);
  });
});
