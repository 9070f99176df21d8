import assert from 'node:assert/strict';
import { test } from 'node:test';

import { silentLogger, type ControlPlane, type MessageStream } from '@moat/core';

import {
  createPresharedKeys,
  createPskDoor,
  type PresharedKeys,
  type PskMode,
} from '../../src/plane/preshared-keys/preshared-keys.ts';
import { PskInitiation } from '../../src/plane/preshared-keys/psk-agreement.ts';
import { decodePskMessage, encodePskMessage, type PskMessage } from '../../src/plane/preshared-keys/psk-messages.ts';
import { DEPLOYMENT, twoBehind, type Member, type PathsWorld } from './paths-world.ts';

interface Keyed {
  readonly world: PathsWorld;
  readonly one: Member;
  readonly two: Member;
  readonly keys: Map<Member, PresharedKeys>;
  readonly update: (mode: PskMode) => Promise<void>;
  readonly begin: (member: Member, mode: PskMode) => Promise<void>;
}

/** Two members whose links carry packets; keys begin with `mode`. `through` may change what a stream does. */
async function keyed(
  mode: PskMode,
  through: (stream: MessageStream, member: Member) => MessageStream = (stream) => stream,
): Promise<Keyed> {
  const { world, one, two } = await twoBehind('blocked', 'blocked');
  const keys = new Map<Member, PresharedKeys>();
  const others = (member: Member): Member => (member === one ? two : one);
  const begin = async (member: Member, wanted: PskMode): Promise<void> => {
    await keys.get(member)?.stop();
    const control = tapped(member.control, (stream) => through(stream, member));
    const made = createPresharedKeys(
      {
        control,
        door: createPskDoor({ control, clock: world.clock }),
        tunnels: member.tunnels,
        clock: world.clock,
        logger: silentLogger,
        isAwake: (peer) => member.paths.states().some((line) => line.peer === peer && line.state.kind !== 'asleep'),
      },
      { tunnel: 'tunnel', deployment: DEPLOYMENT, publicKey: member.tunnels.publicKey },
    );
    keys.set(member, made);
    await made.start({ signal: new AbortController().signal });
    await made.update([peerOf(others(member))], wanted);
  };
  for (const member of [one, two]) await begin(member, mode);
  const update = async (wanted: PskMode): Promise<void> => {
    for (const member of [one, two]) await keys.get(member)?.update([peerOf(others(member))], wanted);
  };
  return { world, one, two, keys, update, begin };
}

function peerOf({ peer, tunnels }: Member): { peer: string; publicKey: string } {
  return { peer, publicKey: tunnels.publicKey };
}

function tapped(control: ControlPlane, through: (stream: MessageStream) => MessageStream): ControlPlane {
  return {
    self: control.self,
    connections: (peer) => control.connections(peer),
    connect: (peer, signal) => control.connect(peer, signal),
    improve: (peer) => control.improve(peer),
    open: async (connection, protocol, signal) => through(await control.open(connection, protocol, signal)),
    handle: (protocol, handler, options) => control.handle(protocol, (stream) => handler(through(stream)), options),
    openBytes: (connection, protocol, signal) => control.openBytes(connection, protocol, signal),
    handleBytes: (protocol, handler, options) => control.handleBytes(protocol, handler, options),
    onAdmitted: (listener) => control.onAdmitted(listener),
  };
}

const stateOf = ({ keys }: Keyed, member: Member): string | undefined => keys.get(member)?.states()[0]?.state;

const agreed = (all: Keyed): boolean =>
  stateOf(all, all.one) === 'pq' && stateOf(all, all.two) === 'pq' && pskOf(all, all.one) === pskOf(all, all.two);

const pskOf = ({ one, two }: Keyed, member: Member): string | null =>
  member.tunnels.pskOf((member === one ? two : one).tunnels.publicKey);

async function stop({ world, keys }: Keyed): Promise<void> {
  for (const each of keys.values()) await each.stop();
  await world.stop();
}

test('a key is agreed on as soon as the peer is connected, anew every ten minutes of traffic, never asleep', async () => {
  const all = await keyed('prefer');
  const { world, one, two } = all;
  await world.run(6_000, 50);
  assert.equal(stateOf(all, one), 'none', 'nobody is dialed for it');
  world.network.connect(one.peer, two.peer);
  await world.until(() => agreed(all), 6_000);
  const first = pskOf(all, one);
  await world.run(1_200_000, 2_000);
  assert.equal(pskOf(all, one), first, 'nothing was sent');
  let steps = 0;
  const talk = (): void => {
    if (steps++ % 10 === 0) one.tunnels.send(two.tunnels.publicKey);
  };
  await world.run(2_000, 100, talk);
  await world.until(() => pskOf(all, one) !== first && agreed(all), 20_000, talk);
  const second = pskOf(all, one);
  await world.run(590_000, 200, talk);
  assert.equal(pskOf(all, one), second);
  await world.run(30_000, 200, talk);
  assert.notEqual(pskOf(all, one), second);
  assert.ok(agreed(all));
  await stop(all);
});

test('where a key is required nothing passes before one stands, and everything after', async () => {
  const all = await keyed('require');
  const { world, one, two } = all;
  await world.run(0);
  const before = pskOf(all, one);
  assert.ok(before !== null && before !== pskOf(all, two));
  world.network.vanish('nobody');
  one.tunnels.send(two.tunnels.publicKey);
  assert.equal(two.arrived, 0);
  let steps = 0;
  const talk = (): void => {
    if (steps++ % 10 === 0) one.tunnels.send(two.tunnels.publicKey);
  };
  await world.until(() => agreed(all), 10_000, talk);
  await world.run(6_000, 10, talk);
  assert.ok(two.arrived > 0);
  await stop(all);
});

test('a peer without keys is never let in where they are required; a change of mind opens, and closes', async () => {
  const all = await keyed('require');
  const { keys, one, two, update, world } = all;
  await keys.get(two)?.update([], null);
  await two.tunnels.setPeer('tunnel', one.tunnels.publicKey, { presharedKey: null });
  for (let round = 0; round < 30; round++) {
    one.tunnels.send(two.tunnels.publicKey);
    two.tunnels.send(one.tunnels.publicKey);
    await world.run(1_000, 50);
  }
  assert.deepEqual([one.arrived, two.arrived, stateOf(all, one)], [0, 0, 'none']);
  await update(null);
  assert.deepEqual([pskOf(all, one), pskOf(all, two)], [null, null]);
  await update('require');
  assert.notEqual(pskOf(all, one), null);
  await world.until(() => agreed(all), 20_000);
  await stop(all);
});

test('a stream that breaks at any message costs no packet: both find one key again', async () => {
  for (const type of ['begin', 'reply', 'commit', 'installed', 'done'] as const) {
    let isBreaking = false;
    const breaking = (stream: MessageStream): MessageStream => ({
      connection: stream.connection,
      read: (signal) => stream.read(signal),
      write: async (message, signal) => {
        if (isBreaking && JSON.parse(Buffer.from(message).toString()).type === type) {
          stream.abort(new Error('the cable was cut'));
          throw new Error('the cable was cut');
        }
        return stream.write(message, signal);
      },
      close: () => stream.close(),
      abort: (reason) => stream.abort(reason),
    });
    const all = await keyed('prefer', breaking);
    const { one, two, world } = all;
    world.network.connect(one.peer, two.peer);
    let steps = 0;
    const talk = (): void => {
      if (steps++ % 2 !== 0) return;
      one.tunnels.send(two.tunnels.publicKey);
      two.tunnels.send(one.tunnels.publicKey);
    };
    await world.until(() => agreed(all), 6_000, talk);
    await world.run(200_000, 100, talk);
    // From now on every new key breaks at this message, for as long as WireGuard takes to need it four times.
    isBreaking = true;
    const before = [one.arrived, two.arrived] as const;
    let sent = 0;
    await world.run(1_200_000, 100, () => {
      talk();
      sent += 1;
    });
    const lost = [sent / 2 - (one.arrived - before[0]), sent / 2 - (two.arrived - before[1])];
    assert.ok(Math.max(...lost) <= 2, `${type}: ${lost.join()} packets of ${sent / 2} lost`);
    isBreaking = false;
    await world.until(() => agreed(all), 400_000, talk);
    await stop(all);
  }
});

test('an agent that begins anew keeps what stands until a new key is agreed on', async () => {
  const all = await keyed('require');
  const { begin, one, two, world } = all;
  world.network.connect(one.peer, two.peer);
  await world.until(() => agreed(all), 6_000);
  let steps = 0;
  const talk = (): void => {
    if (steps++ % 5 !== 0) return;
    one.tunnels.send(two.tunnels.publicKey);
    two.tunnels.send(one.tunnels.publicKey);
  };
  await world.run(60_000, 20, talk);
  const stood = pskOf(all, two);
  await begin(two, 'require');
  assert.deepEqual([stateOf(all, two), pskOf(all, two)], ['seed', stood]);
  const before = one.arrived;
  await world.until(() => agreed(all) && pskOf(all, two) !== stood, 10_000, talk);
  await world.run(200_000, 100, talk);
  assert.ok(one.arrived - before > 390);
  // Nobody to agree with: what is not known to be a key is shut once WireGuard would not use its session any more.
  await begin(two, 'require');
  world.network.vanish(one.peer);
  const seed = pskOf(all, two);
  await world.run(160_000, 500);
  assert.notEqual(pskOf(all, two), seed);
  assert.equal(stateOf(all, two), 'none');
  await stop(all);
});

test('hostile: a wrong proof, the wrong side, a flood, a stranger change no key', async () => {
  const all = await keyed('require');
  const { keys, one, two, world } = all;
  await keys.get(one)?.stop();
  const before = pskOf(all, two);
  const signal = AbortSignal.timeout(20_000);
  const open = async (from: Member, to: Member): Promise<MessageStream> => {
    const opening = from.control.open(await from.control.connect(to.peer, signal), '/moat/psk/1', signal);
    await world.run(10);
    return opening;
  };
  const begin = (): PskMessage => ({
    type: 'begin',
    deployment: DEPLOYMENT,
    epoch: 1,
    holds: null,
    ...new PskInitiation().begin,
  });
  let answered = 0;
  for (let round = 0; round < 20; round++) {
    const stream = await open(one, two);
    await stream.write(encodePskMessage(begin()), signal);
    const reading = stream.read(signal);
    reading.catch(() => undefined);
    await world.run(50);
    const reply = await reading.then(decodePskMessage, () => undefined);
    if (reply?.type === 'reply') answered += 1;
    await stream.write(encodePskMessage({ type: 'commit', proof: new Uint8Array(32) }), signal).catch(() => undefined);
    await world.run(50);
    stream.abort(new Error('next'));
  }
  assert.ok(answered > 0 && answered <= 7, `${answered} answers`);
  const upwards = await open(two, one);
  await upwards.write(encodePskMessage(begin()), signal).catch(() => undefined);
  await world.run(6_000, 50);
  await assert.rejects(upwards.read(signal), { code: 'STREAM_ENDED' });
  assert.equal(pskOf(all, two), before);
  assert.equal(stateOf(all, two), 'none');
  await stop(all);
});
