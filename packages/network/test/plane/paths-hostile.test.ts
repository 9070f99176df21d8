import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { MessageStream } from '@moat/core';

import { decodePathMessage, encodePathMessage, type PathMessage } from '../../src/plane/paths/path-messages.ts';
import { DEPLOYMENT, stateOf, twoBehind, type Member, type PathsWorld } from './paths-world.ts';

const signal = (): AbortSignal => AbortSignal.timeout(20_000);

async function open(world: PathsWorld, from: Member, to: Member): Promise<MessageStream> {
  const connection = await from.control.connect(to.peer, signal());
  const opening = from.control.open(connection, '/moat/path/1', signal());
  await world.run(10);
  return opening;
}

async function say(stream: MessageStream, message: PathMessage): Promise<void> {
  await stream.write(encodePathMessage(message), signal());
}

async function hear(world: PathsWorld, stream: MessageStream): Promise<PathMessage> {
  const reading = stream.read(signal());
  reading.catch(() => undefined);
  await world.run(3_000, 50);
  return decodePathMessage(await reading);
}

/** An offer of sixteen addresses of other people. */
function spray(): PathMessage {
  const candidates = Array.from({ length: 16 }, (_, index) => ({
    kind: 'observed' as const,
    host: `198.51.100.${index + 1}`,
    port: 53,
  }));
  return { type: 'offer', deployment: DEPLOYMENT, nat: 'none', candidates, forwarders: [] };
}

test('a peer cannot make us spray packets: so many addresses a minute, and only while it leads', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  await one.paths.stop();
  for (let round = 0; round < 20; round++) {
    const stream = await open(world, one, two);
    await say(stream, spray());
    const answer = await hear(world, stream).catch(() => undefined);
    if (answer?.type !== 'answer') continue;
    for (let to = 0; to < 16; to++) {
      await say(stream, { type: 'try', attempt: to, to, afterMs: 0 });
      await world.run(50);
    }
    stream.abort(new Error('enough'));
    await world.run(50);
  }
  const victims = [...two.host.sentTo].filter(([host]) => host.startsWith('198.51.100.'));
  const packets = victims.reduce((sum, [, count]) => sum + count, 0);
  const minutes = Math.ceil(world.clock.now() / 60_000 - Date.UTC(2026, 0, 1) / 60_000);
  assert.ok(packets > 0, 'the offers were worth something');
  assert.ok(packets <= 40 * 3 * (minutes + 1), `${packets} packets in ${minutes} min`);
  // No endpoint of anybody stays.
  await world.run(20_000, 50);
  const state = stateOf(two, one);
  assert.ok(state.kind === 'riding' || state.kind === 'asleep', state.kind);
  await world.stop();
});

test('an address that was not offered, or not usable, is never sent to', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  await one.paths.stop();
  const stream = await open(world, one, two);
  await say(stream, {
    type: 'offer',
    deployment: DEPLOYMENT,
    nat: 'none',
    candidates: [
      { kind: 'observed', host: '192.168.20.1', port: 53 },
      { kind: 'lan', host: '169.254.169.254', port: 80 },
      { kind: 'mapped', host: '10.77.0.5', port: 80 },
    ],
    forwarders: [],
  });
  assert.equal((await hear(world, stream)).type, 'answer');
  for (const to of [0, 1, 2, 15]) await say(stream, { type: 'try', attempt: to, to, afterMs: 0 });
  await world.run(1_000);
  const sent = [...two.host.sentTo.keys()].filter((host) => !host.startsWith('203.0.113.'));
  assert.deepEqual(sent, []);
  await say(stream, { type: 'settle', attempt: 2 });
  await world.run(500);
  assert.equal(stateOf(two, one).kind, 'riding', 'a way on which nothing was heard is no way');
  await world.stop();
});

test('who is no peer, who may not lead, and who asks too often is refused', async () => {
  const { world, one, two } = await twoBehind('eim', 'eim');
  const third = await world.member({ address: '203.0.113.30' });
  const stranger = await open(world, third, two);
  await say(stranger, spray());
  await assert.rejects(hear(world, stranger), { code: 'STREAM_ENDED' });
  assert.equal(stateOf(two, one).kind, 'asleep');

  const upwards = await open(world, two, one);
  await say(upwards, spray());
  assert.deepEqual(await hear(world, upwards), { type: 'refused', code: 'PATH_REFUSED' });

  const other = await open(world, one, two);
  await say(other, { type: 'wake', deployment: 'bcdefghijklmnopqrstuvwxyza' });
  await assert.rejects(hear(world, other), { code: 'STREAM_ENDED' });

  const codes = new Set<string>();
  for (let round = 0; round < 70; round++) {
    const stream = await open(world, one, two);
    await say(stream, { type: 'check', deployment: DEPLOYMENT });
    const reading = stream.read(signal());
    await world.run(20);
    const answer = decodePathMessage(await reading);
    codes.add(answer.type === 'refused' ? answer.code : answer.type);
    stream.abort(new Error('done'));
  }
  assert.deepEqual([...codes], ['checked', 'PATH_BUSY']);
  await world.stop();
});

test('a leader that says nothing more, nonsense, or never ends costs its own path only', async () => {
  for (const rest of ['silence', 'nonsense', 'for ever'] as const) {
    const { world, one, two } = await twoBehind('eim', 'eim');
    await one.paths.stop();
    const stream = await open(world, one, two);
    await say(stream, { type: 'offer', deployment: DEPLOYMENT, nat: 'eim', candidates: [], forwarders: [] });
    assert.equal((await hear(world, stream)).type, 'answer');
    if (rest === 'nonsense') await stream.write(Buffer.from('{"type":"offer"'), signal());
    const rounds = rest === 'for ever' ? 40 : 0;
    for (let round = 0; round < rounds; round++) {
      await say(stream, { type: 'try', attempt: 0, to: null, afterMs: 0 }).catch(() => undefined);
      await world.run(100);
    }
    await world.run(20_000, 50);
    assert.equal(stateOf(two, one).kind, 'riding');
    assert.equal(two.tunnels.probes, 0);
    await world.stop();
  }
});
