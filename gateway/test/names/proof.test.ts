/** Hosts of one's own: served once the DNS names the deployment, and for as long as it does. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { provenBy } from '@moat/contract';
import { silentLogger } from '@moat/core';
import type { PublishAnswer } from '@moat/overlay';
import { createManualClock, type ManualClock } from '@moat/testkit';
import { keepProofs } from '../../src/names/keep-proofs.ts';
import { ProofDesk } from '../../src/names/proof-desk.ts';
import type { ProofKeeper } from '../../src/names/proof-keeper.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { Desk, refused } from '../desk.ts';
import { NOW, Shop } from '../shop.ts';

const HOST = 'www.shop.example';
const RECORD = `_moat.${HOST}`;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function valueOf({ deployment }: Shop): string {
  return `moat-deployment=${deployment}`;
}

function hostsOf(answer: PublishAnswer): string[] {
  return answer.ok ? answer.names.map(({ host }) => host) : [];
}

function codesOf(answer: PublishAnswer): string[] {
  return answer.ok ? answer.refused.map(({ code }) => code) : [answer.code];
}

suite('a claim', () => {
  test('is granted with the first bundle where the record is there', async () => {
    const desk = new Desk();
    const shop = new Shop('one', { publish: [HOST] });
    desk.texts.set(RECORD, ['v=spf1 -all', valueOf(shop)]);
    const answer = await desk.show(shop.web1, shop.bundle(shop.first));
    assert.deepEqual(answer, {
      ok: true,
      names: [{ name: HOST, host: HOST, url: `https://${HOST}:8443` }],
      refused: [],
    });
    assert.deepEqual(desk.membersOf(HOST), [shop.web1.peer]);
    assert.deepEqual(desk.lookups, [RECORD]);
    // Held: nobody asks the DNS when a member comes back.
    await desk.show(shop.web1, shop.bundle(shop.first));
    assert.equal(desk.lookups.length, 1);
  });

  test('without it is refused with the record to create, and granted within a minute after it was', async () => {
    const clock = createManualClock(NOW);
    const desk = new Desk({ clock });
    const shop = new Shop('one', { publish: [HOST] });
    const answer = await desk.show(shop.web1, shop.bundle(shop.first));
    assert.equal(refused(answer), 'PROOF_MISSING');
    assert.ok(!answer.ok && answer.message.includes(`${RECORD}. TXT "${valueOf(shop)}"`), 'the exact record');
    assert.ok(!answer.ok && answer.message.length <= 500);
    assert.deepEqual(desk.store.deployments(), [], 'nothing of a newcomer is kept');
    desk.texts.set(RECORD, [valueOf(shop)]);
    clock.advance(30_000);
    assert.deepEqual(hostsOf(await desk.show(shop.web1, shop.bundle(shop.first))), [HOST]);
  });

  test('of the longest host is refused with its whole record, in what an answer takes', async () => {
    const host = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(47)}.example`;
    assert.equal(host.length, 247);
    const desk = new Desk();
    const [shop, ...others] = ['one', 'two', 'three', 'four', 'five'].map(
      (name) => new Shop(name, { publish: [host] }),
    );
    assert.ok(shop);
    for (const texts of [[], others.map(valueOf)]) {
      desk.texts.set(`_moat.${host}`, texts);
      desk.clock.advance(MINUTE);
      const answer = await desk.show(shop.web1, shop.bundle(shop.first));
      assert.ok(!answer.ok && answer.message.endsWith(`_moat.${host}. TXT "${valueOf(shop)}"`), refused(answer));
      assert.ok(answer.message.length <= 500, `${answer.message.length} characters`);
    }
  });

  test('with a record of another deployment is refused as wrong; names beside it are served', async () => {
    const desk = new Desk();
    const [shop, other] = [new Shop('one', { publish: ['shop', HOST] }), new Shop('two')];
    desk.texts.set(RECORD, [valueOf(other), 'moat-deployment=nonsense']);
    const answer = await desk.show(shop.web1, shop.bundle(shop.first));
    assert.deepEqual([hostsOf(answer), codesOf(answer)], [['shop.localhost'], ['PROOF_WRONG']]);
  });

  test('is not decided by name servers that do not answer', async () => {
    const desk = new Desk();
    const shop = new Shop('one', { publish: [HOST] });
    desk.texts.set(RECORD, 'silent');
    assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'PROOF_UNCHECKED');
  });

  test('of a host that somebody else holds needs that their record is gone', async () => {
    const clock = createManualClock(NOW);
    const desk = new Desk({ clock });
    const [one, two] = [new Shop('one', { publish: [HOST] }), new Shop('two', { publish: [HOST] })];
    desk.texts.set(RECORD, [valueOf(one)]);
    await desk.show(one.web1, one.bundle(one.first));
    assert.equal(refused(await desk.show(two.web1, two.bundle(two.first))), 'PROOF_WRONG');
    desk.texts.set(RECORD, [valueOf(one), valueOf(two)]);
    clock.advance(MINUTE);
    assert.equal(refused(await desk.show(two.web1, two.bundle(two.first))), 'NAME_HELD');
    desk.texts.set(RECORD, [valueOf(two)]);
    clock.advance(MINUTE);
    assert.deepEqual(hostsOf(await desk.show(two.web1, two.bundle(two.first))), [HOST]);
    assert.deepEqual(desk.membersOf(HOST), [two.web1.peer]);
    assert.deepEqual(desk.news, [one.web1.peer], 'who lost it hears of it');
    assert.deepEqual(codesOf(await desk.show(one.web1, one.bundle(one.first))), ['PROOF_WRONG']);
  });

  test('is granted at several gateways by one record', async () => {
    const shop = new Shop('one', { publish: [HOST] });
    for (const desk of [new Desk(), new Desk()]) {
      desk.texts.set(RECORD, [valueOf(shop)]);
      assert.deepEqual(hostsOf(await desk.show(shop.web1, shop.bundle(shop.first))), [HOST]);
    }
  });

  test('of what is no host of anybody is refused without a lookup', async () => {
    const desk = new Desk();
    const long = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(50)}.example`;
    const shop = new Shop('one', { publish: ['x.y.localhost', 'xn--a.example', long] });
    assert.equal(refused(await desk.show(shop.web1, shop.bundle(shop.first))), 'NAME_INVALID');
    const mixed = new Shop('two', { publish: ['xn--pypal-4ve.example'] });
    assert.equal(refused(await desk.show(mixed.web1, mixed.bundle(mixed.first))), 'NAME_LOOKALIKE');
    assert.deepEqual(desk.lookups, []);
  });

  test('waits for a slow name server no longer than a moment, and is granted at the next try', async () => {
    const clock = createManualClock(NOW);
    const desk = new Desk({ clock });
    const shop = new Shop('one', { publish: [HOST] });
    const shown = desk.show(shop.web1, shop.bundle(shop.first));
    let answerLate: (texts: readonly string[]) => void = () => undefined;
    const slow = new ProofDesk({
      clock,
      logger: silentLogger,
      lookup: () => new Promise((resolve) => (answerLate = resolve)),
    });
    await shown;
    assert.equal(slow.judge(HOST, shop.deployment).kind, 'refused');
    const settled = slow.settled(shop.deployment);
    clock.advance(1_500);
    assert.equal(await settled, false);
    answerLate([valueOf(shop)]);
    assert.equal((await slow.ask(HOST))?.has(shop.deployment), true);
    assert.equal(slow.judge(HOST, shop.deployment).kind, 'proven');
  });
});

test('lookups are bounded: one a host at a time, so many at once, so many an hour for a deployment', async () => {
  const clock = createManualClock(NOW);
  let running = 0;
  const desk = new ProofDesk({ clock, logger: silentLogger, lookup: () => new Promise(() => void running++) });
  for (let i = 0; i < 100; i++) desk.judge(`h${i % 50}.example`, 'a');
  assert.equal(running, 8);
  for (let i = 0; i < 400; i++) desk.judge(`h${i}.example`, `d${i}`);
  assert.equal(running, 128);
  let asked = 0;
  const hourly = new ProofDesk({ clock, logger: silentLogger, lookup: async () => ((asked += 1), []) });
  for (let i = 0; i < 400; i++) {
    hourly.judge(`h${i}.example`, 'a');
    await hourly.settled('a');
  }
  assert.equal(asked, 240);
  assert.equal(await hourly.ask('h1.example').then((found) => found?.size), 0);
});

test('a proof that was there is not believed later, however busy name servers are', async () => {
  const clock = createManualClock(NOW);
  let texts: readonly string[] = ['moat-deployment=abcdefghijklmnopqrstuvwx23'];
  const desk = new ProofDesk({ clock, logger: silentLogger, lookup: async () => texts });
  const deployment = 'abcdefghijklmnopqrstuvwx23';
  const judge = (): string => {
    const proof = desk.judge(HOST, deployment);
    return proof.kind === 'refused' ? proof.error.code : proof.kind;
  };
  assert.equal(judge(), 'PROOF_UNCHECKED');
  await desk.settled(deployment);
  assert.equal(judge(), 'proven');
  texts = [];
  for (let i = 0; i < 239; i++) {
    desk.judge(`h${i}.example`, deployment);
    await desk.settled(deployment);
  }
  clock.advance(MINUTE);
  for (let i = 0; i < 10; i++) desk.judge(`more${i}.example`, deployment);
  assert.equal(judge(), 'PROOF_UNCHECKED');
});

test('what a record may say', () => {
  const id = 'abcdefghijklmnopqrstuvwx23';
  assert.equal(provenBy([]), undefined);
  assert.equal(provenBy(['v=spf1', 'other']), undefined);
  assert.deepEqual([...(provenBy([` Moat-Deployment=${id.toUpperCase()} `]) ?? [])], [id]);
  assert.deepEqual([...(provenBy([`moat-deployment=${id} x`, 'moat-deployment=']) ?? ['?'])], []);
});

suite('a host that is served', () => {
  async function served(clock: ManualClock): Promise<{ desk: Desk; shop: Shop; keeper: ProofKeeper }> {
    const desk = new Desk({ clock });
    const shop = new Shop('one', { publish: ['shop', HOST] });
    desk.texts.set(RECORD, [valueOf(shop)]);
    await desk.show(shop.web1, shop.bundle(shop.first));
    const keeper = keepProofs({ clock, logger: silentLogger, desk: desk.proofs, random: () => 0.5 }, desk);
    await keeper.round();
    return { desk, shop, keeper };
  }

  test('is looked at once a day, and nobody hears of it while the record is there', async () => {
    const clock = createManualClock(NOW);
    const { desk, keeper } = await served(clock);
    for (let i = 0; i < 72; i++) {
      clock.advance(HOUR);
      await keeper.round();
    }
    assert.equal(desk.lookups.length, 4);
    assert.deepEqual(desk.news, []);
    assert.equal(desk.store.names().find(({ host }) => host === HOST)?.proof?.provenMs, NOW + 3 * DAY);
  });

  test('goes on for a day without its record, and its publisher is told; then it is nobody’s', async () => {
    const clock = createManualClock(NOW);
    const { desk, shop, keeper } = await served(clock);
    desk.texts.delete(RECORD);
    clock.advance(DAY);
    await keeper.round();
    assert.deepEqual(desk.news, [shop.web1.peer]);
    const answer = await desk.show(shop.web1, shop.bundle(shop.first));
    assert.deepEqual([hostsOf(answer).length, codesOf(answer)], [2, ['PROOF_MISSING']], 'served, and told');
    for (let i = 0; i < 23; i++) {
      clock.advance(HOUR);
      await keeper.round();
    }
    assert.deepEqual(desk.membersOf(HOST), [shop.web1.peer]);
    clock.advance(HOUR);
    await keeper.round();
    assert.deepEqual(desk.hosts(), ['shop.localhost']);
    assert.deepEqual(desk.withdrawn, [HOST]);
    assert.equal(desk.routes.current.isHeld(HOST), false);
    assert.equal(
      desk.store.names().some(({ host }) => host === HOST),
      false,
    );
    const after = await desk.show(shop.web1, shop.bundle(shop.first));
    assert.deepEqual([hostsOf(after), codesOf(after)], [['shop.localhost'], ['PROOF_MISSING']]);
  });

  test('is well again as soon as its record is back', async () => {
    const clock = createManualClock(NOW);
    const { desk, shop, keeper } = await served(clock);
    desk.texts.delete(RECORD);
    clock.advance(DAY);
    await keeper.round();
    desk.texts.set(RECORD, [valueOf(shop)]);
    clock.advance(MINUTE);
    assert.deepEqual(codesOf(await desk.show(shop.web1, shop.bundle(shop.first))), []);
    assert.equal(desk.registry.get(HOST)?.proof?.failingMs, null);
  });

  test('survives a week of silence of its name servers, and a restart of the gateway, but no more', async () => {
    const clock = createManualClock(NOW);
    const { desk, keeper } = await served(clock);
    desk.texts.set(RECORD, 'silent');
    for (let i = 0; i < 7 * 24; i++) {
      clock.advance(HOUR);
      await keeper.round();
    }
    const restarted = new Desk({ clock, store: desk.store });
    assert.deepEqual(restarted.registry.get(HOST)?.proof, { provenMs: NOW, failingMs: null });
    for (let i = 0; i < 26; i++) {
      clock.advance(HOUR);
      await keeper.round();
    }
    assert.equal(desk.registry.get(HOST), undefined);
  });
});

test('what is known of proofs survives in the store', () => {
  const store = openSqliteStore(':memory:');
  const name = { host: HOST, deployment: 'd', claimedAtMs: 1, lastLiveMs: 2, served: false };
  store.commit({
    names: [
      { ...name, proof: { provenMs: 3, failingMs: 4 } },
      { ...name, host: 'shop.localhost' },
    ],
  });
  assert.deepEqual(store.names(), [
    { ...name, host: 'shop.localhost' },
    { ...name, proof: { provenMs: 3, failingMs: 4 } },
  ]);
  store.commit({ nameGrants: [{ host: HOST, deployment: 'd', sinceMs: 5 }] });
  assert.deepEqual(store.nameGrants(), [{ host: HOST, deployment: 'd', sinceMs: 5 }]);
});
