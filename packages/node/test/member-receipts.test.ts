import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createReceipt, formatTime, type Receipt, type SignedReceipt } from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createManualClock, type ManualClock } from '@moat/testkit';
import { Deployment } from '../src/deployments/deployment.ts';
import type { Deployments } from '../src/deployments/deployments.ts';
import { MemberReceipts } from '../src/owners/member-receipts.ts';
import { Chain } from './chain.ts';

interface World {
  readonly clock: ManualClock;
  readonly member: NodeKey;
  readonly deployment: Deployment;
  readonly receipts: MemberReceipts;
  readonly announced: SignedReceipt[];
  /** How many at a time. */
  readonly saved: number[];
  /** A receipt of the member unless `by` signs. */
  readonly receipt: (fields?: Partial<Receipt>, by?: NodeKey) => SignedReceipt;
}

function begin(): World {
  const [home, member] = [createNodeKey(), createNodeKey()];
  const chain = new Chain(home);
  const { proof, contract } = chain.next({
    members: [
      { name: 'home', node: home.peerId, ipv4: '10.77.0.2', tags: [], keeper: true },
      { name: 'laptop', node: member.peerId, ipv4: '10.77.0.3', tags: [] },
    ],
  });
  const stored = { id: contract.deployment, proof, contract, acceptedAt: 0, claims: [], forks: [] };
  const deployment = new Deployment({ ...stored, age: { ageMs: 0, at: 0 } }, home.peerId, 0);
  const clock = createManualClock(Date.UTC(2026, 10, 20));
  const announced: SignedReceipt[] = [];
  const saved: number[] = [];
  const receipts = new MemberReceipts({
    self: home.peerId,
    signer: home.signer,
    deployments: { get: (id: string) => (id === deployment.id ? deployment : undefined) } as Deployments,
    overlay: { receipts: { announce: (signed) => announced.push(signed) } },
    store: { receipts: () => [], saveReceipts: (all) => saved.push(all.length), deleteReceipts: () => undefined },
    clock,
    logger: silentLogger,
  });
  const receipt: World['receipt'] = (fields = {}, by = member) =>
    createReceipt(
      {
        deployment: deployment.id,
        version: 0,
        head: deployment.head,
        result: 'applied',
        code: null,
        time: formatTime(clock.now()),
        ...fields,
      },
      by.signer,
    );
  return { clock, member, deployment, receipts, announced, saved, receipt };
}

test('a member says what it did, and only the newest counts', () => {
  const { receipts, receipt, deployment, clock } = begin();
  const first = receipt({ result: 'failed', code: 'PORT_TAKEN' });
  assert.equal(receipts.accept(first), true);
  assert.equal(receipts.accept(first), false, 'nothing new is passed on');
  clock.advance(1000);
  const second = receipt();
  assert.equal(receipts.accept(second), true);
  assert.equal(receipts.accept(first), false, 'an older one');
  assert.deepEqual(receipts.of(deployment), [second]);
});

test('forged ones, those of strangers and of other heads are dropped', () => {
  const { receipts, receipt, deployment, member } = begin();
  const good = receipt();
  const stranger = createNodeKey();
  for (const bad of [
    receipt({}, stranger),
    { ...receipt({}, stranger), receipt: good.receipt },
    { receipt: { ...good.receipt, version: 7 }, signature: good.signature },
    receipt({ head: 'A'.repeat(43) }),
    receipt({ deployment: 'b'.repeat(26) }),
  ]) {
    assert.equal(receipts.accept(bad), false);
  }
  assert.deepEqual(receipts.of(deployment), []);
  assert.equal(receipts.accept(good), true);
  assert.equal(good.receipt.node, member.peerId);
});

test('a member that says something new all the time is passed on a few times, then once a second', () => {
  const { receipts, receipt, clock } = begin();
  let version = 1;
  const next = (): boolean => receipts.accept(receipt({ version: version++, head: 'A'.repeat(43) }));
  const passed = Array.from({ length: 100 }, next).filter(Boolean);
  assert.ok(passed.length <= 33, `${passed.length} passed`);
  clock.advance(1000);
  assert.equal(next(), true);
  assert.equal(next(), false);
});

test('our own is signed, kept and told', () => {
  const { receipts, announced, deployment, receipt, saved, clock } = begin();
  receipts.make(deployment, 0, deployment.head, null);
  assert.equal(announced.length, 1);
  assert.deepEqual(receipts.of(deployment), announced);
  const own = announced[0];
  assert.ok(own !== undefined);
  assert.equal(receipts.accept(own), false, 'nobody tells us what we did');
  assert.equal(receipts.accept(receipt()), true);
  clock.advance(1000);
  assert.deepEqual(saved, [2], 'written together');
});
