import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { isMoatError, silentLogger } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import fc from 'fast-check';
import { defaultGatewayOf } from '../../../src/plane/port-mapping/default-router.ts';
import { decodeNatPmp } from '../../../src/plane/port-mapping/nat-pmp.ts';
import { natPmpFinder } from '../../../src/plane/port-mapping/nat-pmp-giver.ts';
import { RouterPortMapper } from '../../../src/plane/port-mapping/port-mapper.ts';
import { FakeRouter, until } from './fake-router.ts';

const NEVER = new AbortController().signal;

suite('the router’s ports by NAT-PMP', () => {
  test('one is had, renewed before it ends, and given back', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    const { mapper, clock } = router;
    const mapping = await mapper.map(51_820);
    const expires = clock.now() + 3_600_000;
    assert.deepEqual(mapping, { external: { host: '203.0.113.9', port: 40_000 }, expires, protocol: 'nat-pmp' });
    assert.equal(mapper.mapping(51_820), mapping);
    clock.advance(1_800_000);
    await until(() => router.asked.length === 2 && (mapper.mapping(51_820)?.expires ?? 0) > expires);
    await mapper.unmap(51_820);
    assert.deepEqual(router.asked.at(-1), { port: 51_820, seconds: 0 });
    assert.equal(mapper.mapping(51_820), null);
    assert.equal(clock.pending, 0);
  });

  test('a mapping stays when the agent stops', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    await router.mapper.map(51_820);
    await router.mapper.stop();
    assert.deepEqual(router.asked, [{ port: 51_820, seconds: 3_600 }]);
    assert.equal(router.clock.pending, 0);
  });

  test('a request that gets lost is repeated', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    router.deaf = 2;
    const mapping = router.mapper.map(51_820);
    await until(() => router.packets === 1);
    router.clock.advance(250);
    await until(() => router.packets === 2);
    router.clock.advance(500);
    assert.equal((await mapping)?.external.port, 40_000);
  });

  test('a router that does not answer is ROUTER_SILENT, and left alone for ten minutes', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    const { mapper, clock } = router;
    router.deaf = 100;
    assert.ok(router.router);
    const found = natPmpFinder({ clock })(router.router, NEVER);
    const silent = assert.rejects(found, { code: 'ROUTER_SILENT' });
    await until(() => router.packets === 1);
    clock.advance(3_500);
    await silent;
    await until(() => router.packets === 4);
    const mapping = mapper.map(51_820);
    await until(() => router.packets === 5);
    clock.advance(3_500);
    assert.equal(await mapping, null);
    await until(() => router.packets === 8);
    assert.equal(await mapper.map(51_820), null);
    assert.equal(router.packets, 8);
    router.deaf = 0;
    const known = Promise.withResolvers<number>();
    mapper.onChange(known.resolve);
    clock.advance(600_000);
    assert.equal(await known.promise, 51_820);
    assert.equal(mapper.mapping(51_820)?.external.port, 40_000);
  });

  test('one that refuses, or stands behind another router, gives none', async () => {
    await using refusing = await FakeRouter.start({ natPmp: true });
    refusing.result = 2;
    assert.equal(await refusing.mapper.map(51_820), null);
    for (const outside of [
      [192, 168, 1, 2],
      [100, 64, 3, 4],
      [0, 0, 0, 0],
    ]) {
      await using second = await FakeRouter.start({ natPmp: true });
      second.outside = outside;
      assert.equal(await second.mapper.map(51_820), null);
      assert.deepEqual(second.asked, []);
    }
  });

  test('another network’s router is asked anew, and what the first one gave counts no more', async () => {
    await using home = await FakeRouter.start({ natPmp: true });
    await using cafe = await FakeRouter.start({ natPmp: true });
    const routers = [home.router, null, cafe.router];
    const clock = createManualClock();
    const router = (): Promise<FakeRouter['router']> => Promise.resolve(routers[0] ?? null);
    const mapper = new RouterPortMapper({ clock, logger: silentLogger, router });
    const heard: number[] = [];
    mapper.onChange((port) => heard.push(port));
    assert.notEqual(await mapper.map(51_820), null);
    routers.shift();
    assert.equal(await mapper.map(51_820), null);
    routers.shift();
    assert.notEqual(await mapper.map(51_820), null);
    assert.deepEqual([home.asked.length, cafe.asked.length, heard.length], [1, 1, 3]);
    // It would be another machine's by now.
    routers[0] = home.router && { ...home.router, own: '127.0.0.2' };
    await mapper.unmap(51_820);
    assert.deepEqual([home.asked.length, cafe.asked.length], [1, 1]);
    assert.equal(clock.pending, 0);
  });

  test('a router that went silent keeps nobody longer than two seconds', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    await router.mapper.map(51_820);
    const before = router.packets;
    router.deaf = 100;
    const left = router.mapper.unmap(51_820);
    await until(() => router.packets > before);
    const again = router.mapper.map(51_820);
    router.clock.advance(2_000);
    await left;
    router.deaf = 0;
    assert.equal((await again)?.external.port, 40_000, 'whoever comes next waits for that');
  });

  test('a mapping that cannot be renewed is believed until its end, and had again when the router is back', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    const { mapper, clock } = router;
    await mapper.map(51_820);
    router.result = 2;
    clock.advance(1_800_000);
    await until(() => router.packets >= 4 && clock.pending === 1);
    assert.notEqual(mapper.mapping(51_820), null);
    clock.advance(1_799_999);
    assert.notEqual(mapper.mapping(51_820), null);
    clock.advance(1);
    assert.equal(mapper.mapping(51_820), null);
    router.result = 0;
    const known = Promise.withResolvers<number>();
    mapper.onChange(known.resolve);
    await until(() => {
      // One timer: nothing is being asked.
      if (clock.pending === 1) clock.advance(60_000);
      return mapper.mapping(51_820) !== null;
    });
    await known.promise;
  });

  test('a question that is given up while it runs takes back what it was granted', async () => {
    await using router = await FakeRouter.start({ natPmp: true });
    const mapping = router.mapper.map(51_820);
    await Promise.all([mapping, router.mapper.unmap(51_820)]);
    const seconds = router.asked.map((ask) => ask.seconds);
    assert.ok(seconds.length === 0 || seconds.at(-1) === 0, String(seconds));
    assert.equal(router.clock.pending, 0);
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

test('a refusal is told from what is no answer', () => {
  const refused = Buffer.from([0, 129, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.throws(() => decodeNatPmp(refused), { code: 'ROUTER_REFUSED' });
  for (const bytes of [[], [0, 1, 0, 0], [9, 129, 0, 0], [0, 129, 0, 0]]) {
    assert.throws(() => decodeNatPmp(Buffer.from(bytes)), { code: 'ROUTER_INVALID' });
  }
});
