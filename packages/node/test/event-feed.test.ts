import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventFeed } from '../src/event-feed.ts';

const claim = (member: string): Parameters<EventFeed['emit']>[0] => ({
  kind: 'claim',
  deployment: 'd',
  member,
  peer: 'p',
});

test('a follower sees what came first and what comes after, until its signal or the feed ends', async () => {
  const feed = new EventFeed(() => 0);
  const stop = new AbortController();
  const stream = feed.follow(stop.signal, [{ kind: 'agent', state: 'started' }]);
  const first = await stream.next();
  assert.deepEqual(first.value, { time: '1970-01-01T00:00:00.000Z', kind: 'agent', state: 'started' });
  feed.emit(claim('a'));
  assert.equal((await stream.next()).value?.kind, 'claim');
  const waiting = stream.next();
  stop.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });

  const other = feed.follow(new AbortController().signal, [{ kind: 'agent', state: 'started' }]);
  await other.next();
  feed.emit(claim('b'));
  feed.end();
  assert.equal((await other.next()).value?.kind, 'claim');
  assert.equal((await other.next()).done, true);
  assert.equal((await feed.follow(new AbortController().signal).next()).done, true);
});

test('a slow follower loses the oldest events, and too many followers the oldest follower', async () => {
  const feed = new EventFeed(() => 0);
  const { signal } = new AbortController();
  const slow = feed.follow(signal, [{ kind: 'agent', state: 'started' }]);
  await slow.next();
  for (let i = 0; i < 1100; i++) feed.emit(claim(String(i)));
  const next = (await slow.next()).value;
  assert.equal(next?.kind === 'claim' && next.member, String(1100 - 1024));
  for (let i = 0; i < 64; i++) {
    await feed.follow(signal, [{ kind: 'agent', state: 'started' }]).next();
  }
  let last;
  for await (const event of slow) last = event;
  assert.equal(last?.kind === 'claim' && last.member, '1099');
});
