import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, type ControlPlane, type PeerId } from '@moat/core';
import { initiationTestOf } from '@moat/identity';
import { createManualClock, createMemoryNetwork, type ManualClock } from '@moat/testkit';
import { ForwardDesk } from '../../src/plane/forward/forward-desk.ts';
import { encodeForward, FORWARD_PROTOCOL, decodeKnown } from '../../src/plane/forward/forward-messages.ts';
import { Forwarder } from '../../src/plane/forward/forwarder.ts';
import { DEPLOYMENT, PEERS, viewOf } from '../shop.ts';

const { web1: keeper, web2: relay, db1: member, stranger } = PEERS;

interface World extends Disposable {
  readonly network: ReturnType<typeof createMemoryNetwork>;
  readonly clock: ManualClock;
  readonly planes: ReadonlyMap<PeerId, ControlPlane>;
  desk(peer: PeerId): ForwardDesk;
}

/** web-2 offers to forward; a stranger has a desk of its own. */
function world(): World {
  const network = createMemoryNetwork();
  const clock = createManualClock(Date.now());
  const planes = new Map<PeerId, ControlPlane>();
  const desks = new Map<PeerId, ForwardDesk>();
  for (const peer of [keeper, relay, member, stranger]) {
    const control = network.join(peer);
    const deps = { control, clock, logger: silentLogger, views: () => (peer === stranger ? [] : [viewOf()]) };
    const forwarder =
      peer === relay
        ? new Forwarder({ ...deps, self: peer, initiations: initiationTestOf, viewOf: () => viewOf() })
        : undefined;
    const desk = new ForwardDesk({ ...deps, forwarder });
    desk.start();
    planes.set(peer, control);
    desks.set(peer, desk);
  }
  return {
    network,
    clock,
    planes,
    desk: (peer) => desks.get(peer) as ForwardDesk,
    [Symbol.dispose]: () => {
      for (const desk of desks.values()) desk.stop();
    },
  };
}

test('a member learns from its keeper who passes packets on', async () => {
  using made = world();
  made.network.connect(relay, keeper);
  made.network.connect(member, keeper);
  await until(() => made.desk(keeper).known(DEPLOYMENT).includes(relay));
  assert.deepEqual(made.desk(member).known(DEPLOYMENT), []);
  await until(() => made.desk(member).known(DEPLOYMENT).length > 0);
  assert.deepEqual(made.desk(member).known(DEPLOYMENT), [relay]);
  // The forwarder itself is connected to nobody who says so, and does not count itself.
  assert.deepEqual(made.desk(relay).known(DEPLOYMENT), []);
});

test('an offer is repeated, and not believed for ever', async () => {
  using made = world();
  made.network.connect(relay, keeper);
  await until(() => made.desk(keeper).known(DEPLOYMENT).length > 0);
  for (const ms of [5_000, 1_800_000, 1_800_000, 1_800_000, 1_800_000]) {
    made.clock.advance(ms);
    await turns();
  }
  assert.deepEqual(made.desk(keeper).known(DEPLOYMENT), [relay]);
  made.network.disconnect(relay, keeper);
  made.clock.advance(3_600_000);
  await turns();
  assert.deepEqual(made.desk(keeper).known(DEPLOYMENT), []);
});

test('hearsay is not told on, and strangers are told and believed nothing', async () => {
  using made = world();
  made.network.connect(relay, keeper);
  made.network.connect(member, keeper);
  await until(() => made.desk(keeper).known(DEPLOYMENT).length > 0);
  await until(() => made.desk(member).known(DEPLOYMENT).length > 0);
  const who = async (from: PeerId, to: PeerId): Promise<readonly PeerId[]> => {
    const signal = AbortSignal.timeout(5000);
    const control = made.planes.get(from) as ControlPlane;
    const stream = await control.open(made.network.connect(from, to), FORWARD_PROTOCOL, signal);
    await stream.write(encodeForward({ type: 'who', deployment: DEPLOYMENT }), signal);
    return decodeKnown(await stream.read(signal));
  };
  assert.deepEqual(await who(member, keeper), [relay]);
  assert.deepEqual(await who(keeper, relay), [relay]);
  assert.deepEqual(await who(keeper, member), []);
  assert.deepEqual(await who(stranger, keeper), []);
  const signal = AbortSignal.timeout(5000);
  const control = made.planes.get(stranger) as ControlPlane;
  const stream = await control.open(made.network.connect(stranger, member), FORWARD_PROTOCOL, signal);
  await stream.write(encodeForward({ type: 'offer', deployment: DEPLOYMENT }), signal);
  await turns();
  assert.deepEqual(made.desk(member).known(DEPLOYMENT), [relay]);
});

async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
