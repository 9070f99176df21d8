import assert from 'node:assert/strict';
import { test } from 'node:test';

import { both, stateOf, twoBehind, type Member, type PathsWorld } from './paths-world.ts';

/** Both sides send a packet every 100 ms. */
function talk(one: Member, two: Member): () => void {
  let steps = 0;
  return () => {
    if (steps++ % 10 !== 0) return;
    one.tunnels.send(two.tunnels.publicKey);
    two.tunnels.send(one.tunnels.publicKey);
  };
}

async function direct(world: PathsWorld, one: Member, two: Member): Promise<void> {
  one.tunnels.send(two.tunnels.publicKey);
  await world.until(() => both(one, two, 'direct'), 1_000);
}

test('five minutes without traffic: asleep, no keepalive, nothing looked at, and the next packet wakes', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  await direct(world, one, two);
  assert.equal(one.paths.states()[0]?.keepaliveSeconds, 25);
  await world.run(290_000, 100);
  assert.ok(both(one, two, 'direct'), 'keepalives hold it');
  await world.run(40_000, 100);
  assert.ok(both(one, two, 'asleep'));
  const looks = one.tunnels.looks + two.tunnels.looks;
  const sent = [...one.host.sentTo.values()].reduce((sum, count) => sum + count, 0);
  await world.run(600_000, 500);
  assert.equal(one.tunnels.looks + two.tunnels.looks, looks);
  assert.equal(
    [...one.host.sentTo.values()].reduce((sum, count) => sum + count, 0),
    sent,
  );
  two.tunnels.send(one.tunnels.publicKey);
  await world.until(() => both(one, two, 'direct'), 1_000);
  await world.stop();
});

test('a forwarder dies under traffic: the link takes over, then another forwarder, within five seconds', async () => {
  const { world, one, two } = await twoBehind('edm', 'edm');
  const forwarders = [world.forwarder('203.0.113.3'), world.forwarder('203.0.113.4')];
  one.forwarders = two.forwarders = forwarders;
  const talking = talk(one, two);
  await world.until(() => both(one, two, 'forwarded'), 3_000, talking);
  await world.run(10_000, 10, talking);
  const state = stateOf(one, two);
  assert.ok(state.kind === 'forwarded' && state.why.code === 'BOTH_SYMMETRIC');
  world.forwarderOf(state.forwarder).isDead = true;
  const before = two.arrived;
  const carriedMs = await world.until(() => two.arrived > before + 2, 5_000, talking);
  assert.ok(carriedMs < 5_000, `${carriedMs} ms`);
  await world.until(() => {
    const now = stateOf(one, two);
    return both(one, two, 'forwarded') && now.kind === 'forwarded' && now.forwarder !== state.forwarder;
  }, 5_000);
  await world.stop();
});

test('a router that forgets after 18 s: noticed, the link takes over, and the keepalive gets shorter', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim', 18_000);
  await direct(world, one, two);
  let steps = 0;
  // Something is said every minute: long after the routers forgot.
  await world.run(280_000, 50, () => {
    if (steps++ % 1_200 === 0) one.tunnels.send(two.tunnels.publicKey);
  });
  const seconds = one.paths.states()[0]?.keepaliveSeconds ?? 0;
  assert.ok(seconds > 0 && seconds <= 15, `${seconds} s`);
  assert.ok(both(one, two, 'direct'));
  const before = two.arrived;
  one.tunnels.send(two.tunnels.publicKey);
  await world.run(100);
  assert.equal(two.arrived, before + 1);
  await world.stop();
});

test('a flow in one direction is no dead path', async () => {
  const { world, one, two } = await twoBehind('none', 'none');
  await direct(world, one, two);
  let steps = 0;
  await world.run(60_000, 20, () => {
    if (steps++ % 5 === 0) one.tunnels.send(two.tunnels.publicKey, 1_000);
  });
  assert.ok(both(one, two, 'direct'));
  const state = stateOf(one, two);
  assert.ok(world.clock.now() - state.since > 59_000, 'it was never left');
  await world.stop();
});

test('another network under traffic: packets go on within three seconds, directly again soon', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  const talking = talk(one, two);
  await world.until(() => both(one, two, 'direct'), 1_000, talking);
  await world.run(5_000, 10, talking);
  one.host.address = '192.168.77.5';
  one.host.router = world.udp.router({ address: '203.0.113.177', kind: 'eim' });
  one.addresses = ['192.168.77.5'];
  const before = [one.arrived, two.arrived];
  const tookMs = await world.until(
    () => one.arrived > (before[0] ?? 0) + 2 && two.arrived > (before[1] ?? 0) + 2,
    2_500,
    talking,
  );
  assert.ok(tookMs < 2_500);
  await world.until(() => {
    const state = stateOf(two, one);
    return both(one, two, 'direct') && state.kind === 'direct' && state.endpoint.host === '203.0.113.177';
  }, 5_000);
  await world.stop();
});

test('the other agent restarts: its direct path is adopted, and no packet is lost', async () => {
  const { world, one, two } = await twoBehind('eim', 'none');
  const talking = talk(one, two);
  await world.until(() => both(one, two, 'direct'), 1_000, talking);
  await two.restart();
  const before = one.arrived;
  await world.run(10_000, 10, talking);
  assert.ok(one.arrived - before >= 99);
  assert.equal(stateOf(two, one).kind, 'direct');
  await world.stop();
});

test('without any agent in reach packets ride, and the reason is said; its return is used at once', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  world.network.vanish(two.peer);
  one.tunnels.send(two.tunnels.publicKey);
  await world.run(20_000, 20);
  const state = stateOf(one, two);
  assert.ok(state.kind === 'riding' && state.why.code === 'PEER_UNREACHABLE');
  assert.match(state.why.text, /not reachable/);
  assert.ok((one.paths.states()[0]?.nextTryAt ?? 0) > world.clock.now());
  await world.stop();
});

test('untilDirect wakes and waits; netcheck says what anchors see', async () => {
  const { world, one, two } = await twoBehind('eim', 'none');
  const reached = one.paths.untilDirect(two.peer, AbortSignal.timeout(10_000));
  await world.run(1_000);
  assert.equal((await reached).state.kind, 'direct');
  const checking = one.paths.netcheck(AbortSignal.timeout(10_000));
  await world.run(200);
  const { anchors, nat, port } = await checking;
  assert.deepEqual([nat, port, anchors.length], ['eim', 51_820, 2]);
  assert.equal(anchors[0]?.seen?.host, '203.0.113.110');
  await assert.rejects(one.paths.untilDirect('nobody', AbortSignal.timeout(10)), { code: 'PATH_REFUSED' });
  await world.stop();
});

test('who passes packets on may become known later: it is used at once', async () => {
  const { world, one, two } = await twoBehind('edm', 'edm');
  const forwarder = world.forwarder('203.0.113.3');
  const talking = talk(one, two);
  await world.run(5_000, 10, talking);
  assert.ok(both(one, two, 'riding'));
  two.forwarders = [forwarder];
  await world.run(500, 10, talking);
  one.forwarders = [forwarder];
  await world.until(() => both(one, two, 'forwarded'), 3_000, talking);
  await world.stop();
});

test('a last keepalive of the peer does not leave a sleeper without a way', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  await direct(world, one, two);
  await world.run(299_000, 100);
  await two.paths.stop();
  await world.until(() => stateOf(one, two).kind === 'asleep', 60_000);
  const ride = one.rides.get(two.peer)?.endpoint;
  const endpoint = async (): Promise<unknown> => (await one.tunnels.peers())[0]?.endpoint;
  for (const keepaliveSeconds of [0, 25, 0]) {
    await two.tunnels.setPeer('tunnel', one.tunnels.publicKey, { keepaliveSeconds });
  }
  await world.run(1_000);
  assert.notDeepEqual(await endpoint(), ride, 'WireGuard goes where packets come from');
  await world.run(20_000, 50);
  assert.deepEqual(await endpoint(), ride);
  await world.stop();
});

test('packets go on while a way is tried that seldom works', async () => {
  for (const [a, b] of [
    ['eim', 'edm'],
    ['edm', 'eim'],
  ] as const) {
    const { world, one, two } = await twoBehind(a, b);
    let sent = 0;
    const isOver = (): boolean => {
      const state = stateOf(one, two);
      return both(one, two, 'riding') && state.kind === 'riding' && state.why.code !== 'STARTING';
    };
    await world.until(isOver, 3_000, () => {
      sent += 1;
      one.tunnels.send(two.tunnels.publicKey);
      two.tunnels.send(one.tunnels.publicKey);
    });
    await world.run(100);
    // one each may be lost when the endpoint comes back
    assert.ok(one.arrived >= sent - 2 && two.arrived >= sent - 2, `${one.arrived} and ${two.arrived} of ${sent}`);
    await world.stop();
  }
});

test('a forwarder that is reached slowly is used all the same', async () => {
  const { world, one, two } = await twoBehind('edm', 'edm');
  const forwarder = world.forwarder('203.0.113.3');
  one.forwarders = two.forwarders = [forwarder];
  world.forwarderOf(forwarder).joinMs = 1_500;
  one.tunnels.send(two.tunnels.publicKey);
  await world.until(() => both(one, two, 'forwarded'), 3_000);
  await world.stop();
});

test('a lost probe costs half a second, and no kind of NAT', async () => {
  const { world, one, two } = await twoBehind('eim', 'edm');
  const forwarder = world.forwarder('203.0.113.3');
  one.forwarders = two.forwarders = [forwarder];
  let lost = 0;
  world.udp.lose = () => lost++ < 4;
  one.tunnels.send(two.tunnels.publicKey);
  await world.until(() => both(one, two, 'forwarded'), 2_000);
  const state = stateOf(one, two);
  assert.ok(state.kind === 'forwarded' && state.why.code === 'PEER_SYMMETRIC');
  await world.stop();
});

test('two whose UDP is blocked find that out at the same time', async () => {
  const { world, one, two } = await twoBehind('blocked', 'blocked');
  one.tunnels.send(two.tunnels.publicKey);
  await world.until(() => {
    const state = stateOf(one, two);
    return state.kind === 'riding' && state.why.code === 'UDP_BLOCKED';
  }, 3_000);
  await world.stop();
});

test('a router that lets everybody in is found out while packets ride', async () => {
  const { world, one: cone, two: edm } = await twoBehind('cone', 'edm');
  const forwarder = world.forwarder('203.0.113.3');
  cone.forwarders = edm.forwarders = [forwarder];
  // Each of them moves the endpoint back to the ride at the other side.
  const talking = (): void => {
    for (let i = 0; i < 3; i++) edm.tunnels.send(cone.tunnels.publicKey, 32);
  };
  await world.until(() => both(cone, edm, 'direct'), 1_000, talking);
  await world.stop();
});
