import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import { isMoatError, silentLogger } from '@moat/core';
import { createManualClock, type ManualClock } from '@moat/testkit';
import fc from 'fast-check';
import { decodeNatPmp } from '../../src/plane/port-mapping/nat-pmp.ts';
import { NatPmpMapper, defaultGatewayOf } from '../../src/plane/port-mapping/port-mapper.ts';

const NEVER = new AbortController().signal;

interface Router extends AsyncDisposable {
  /** Ports asked for, with the lifetime in seconds. */
  readonly asked: { readonly port: number; readonly seconds: number }[];
  readonly mapper: NatPmpMapper;
  readonly clock: ManualClock;
  outside: number[];
  result: number;
  /** Requests that get lost. */
  deaf: number;
  readonly packets: number;
}

/** A router that speaks NAT-PMP on a free port, and who asks it. */
async function router(): Promise<Router> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const clock = createManualClock();
  const endpoint = { host: '127.0.0.1', port: socket.address().port };
  let packets = 0;
  const made = {
    asked: [] as { port: number; seconds: number }[],
    outside: [203, 0, 113, 9],
    result: 0,
    deaf: 0,
    clock,
    get packets() {
      return packets;
    },
    mapper: new NatPmpMapper({ clock, logger: silentLogger, router: () => Promise.resolve(endpoint) }),
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, 'close');
    },
  };
  socket.on('message', (request, from) => {
    packets += 1;
    if (packets <= made.deaf) return;
    const head = Buffer.from([0, 0x80 | (request[1] ?? 0), made.result >> 8, made.result & 0xff, 0, 0, 0, 1]);
    if (request[1] === 0) return socket.send(Buffer.concat([head, Buffer.from(made.outside)]), from.port, from.address);
    const port = request.readUInt16BE(4);
    const seconds = request.readUInt32BE(8);
    made.asked.push({ port, seconds });
    const rest = Buffer.alloc(8);
    rest.writeUInt16BE(port, 0);
    rest.writeUInt16BE(seconds === 0 ? 0 : 40_000, 2);
    rest.writeUInt32BE(seconds, 4);
    socket.send(Buffer.concat([head, rest]), from.port, from.address);
  });
  return made;
}

suite('the router’s ports', () => {
  test('one is had, renewed before it ends, and given back', async () => {
    await using made = await router();
    const { mapper, clock } = made;
    const mapping = await mapper.map(51_820, NEVER);
    assert.deepEqual(mapping, { external: { host: '203.0.113.9', port: 40_000 }, expires: clock.now() + 3_600_000 });
    assert.equal(await mapper.map(51_820, NEVER), mapping);
    assert.equal(made.asked.length, 1);
    clock.advance(1_800_000);
    await until(() => made.asked.length === 2);
    await until(() => clock.pending === 1);
    const renewed = await mapper.map(51_820, NEVER);
    assert.equal(renewed?.expires, clock.now() + 3_600_000);
    await mapper.stop();
    assert.deepEqual(made.asked.at(-1), { port: 51_820, seconds: 0 });
    assert.equal(clock.pending, 0);
  });

  test('a request that gets lost is repeated', async () => {
    await using made = await router();
    made.deaf = 2;
    const mapping = made.mapper.map(51_820, NEVER);
    await until(() => made.packets === 1);
    made.clock.advance(250);
    await until(() => made.packets === 2);
    made.clock.advance(500);
    assert.equal((await mapping)?.external.port, 40_000);
    await made.mapper.stop();
  });

  test('a router that does not answer is left alone for ten minutes', async () => {
    await using made = await router();
    made.deaf = 100;
    const mapping = made.mapper.map(51_820, NEVER);
    await until(() => made.packets === 1);
    made.clock.advance(3_500);
    assert.equal(await mapping, null);
    const { packets } = made;
    assert.equal(await made.mapper.map(51_820, NEVER), null);
    assert.equal(made.packets, packets);
    made.deaf = 0;
    made.clock.advance(600_000);
    assert.equal((await made.mapper.map(51_820, NEVER))?.external.port, 40_000);
    await made.mapper.stop();
  });

  test('one that refuses, or stands behind another router, gives none', async () => {
    await using refusing = await router();
    refusing.result = 2;
    assert.equal(await refusing.mapper.map(51_820, NEVER), null);
    for (const outside of [
      [192, 168, 1, 2],
      [100, 64, 3, 4],
      [0, 0, 0, 0],
    ]) {
      await using second = await router();
      second.outside = outside;
      assert.equal(await second.mapper.map(51_820, NEVER), null);
      assert.deepEqual(second.asked, []);
    }
  });

  test('who gives up gets the signal’s reason', async () => {
    await using made = await router();
    made.deaf = 100;
    const controller = new AbortController();
    const mapping = made.mapper.map(51_820, controller.signal);
    await until(() => made.packets === 1);
    controller.abort(new Error('enough'));
    await assert.rejects(mapping, /enough/);
    assert.equal(made.clock.pending, 0);
  });

  test('without a router there is none', async () => {
    const clock = createManualClock();
    const mapper = new NatPmpMapper({ clock, logger: silentLogger, router: () => Promise.resolve(null) });
    assert.equal(await mapper.map(51_820, NEVER), null);
    await mapper.stop();
  });
});

test('the default gateway is the one of the least metric', () => {
  const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT';
  const lan = 'eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0';
  const slow = 'wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0';
  const fast = 'eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0';
  assert.equal(defaultGatewayOf([head, lan, slow, fast, ''].join('\n')), '192.168.1.1');
  assert.equal(defaultGatewayOf([head, lan].join('\n')), null);
  assert.equal(defaultGatewayOf('nonsense'), null);
});

test('what is no answer of a router ends in a coded error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), (bytes) => {
      try {
        decodeNatPmp(bytes);
      } catch (error) {
        assert.ok(isMoatError(error));
      }
    }),
  );
});

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

test('a refusal is told from what is no answer', () => {
  const refused = Buffer.from([0, 129, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.throws(() => decodeNatPmp(refused), { code: 'ROUTER_REFUSED' });
  for (const bytes of [[], [0, 1, 0, 0], [9, 129, 0, 0], [0, 129, 0, 0]]) {
    assert.throws(() => decodeNatPmp(Buffer.from(bytes)), { code: 'ROUTER_INVALID' });
  }
});
