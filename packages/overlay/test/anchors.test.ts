/** Several anchors: members hold places at two of them, find each other wherever those are, and move when one dies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Deployment, soon, started, until, type Machine } from './world.fixture.ts';

/** Machines without an inbound port, in one deployment that names these anchors. */
async function homes(
  stack: AsyncDisposableStack,
  anchors: readonly Machine[],
  names: readonly string[],
): Promise<Machine[]> {
  const machines = await Promise.all(
    names.map(() => started({ listen: [], limits: { redialMinMs: 50, redialMaxMs: 400 } })),
  );
  for (const machine of machines) stack.use(machine);
  const members = Object.fromEntries(machines.map(({ peer }, i) => [names[i] ?? '', peer]));
  const addresses = anchors.flatMap(({ overlay }) => overlay.addresses().slice(0, 1));
  const version = new Deployment().version(members, addresses);
  for (const { view, overlay } of machines) {
    view.hold(version);
    overlay.viewChanged();
  }
  return machines;
}

test('of six anchors each member holds two, and any two members meet', async () => {
  await using stack = new AsyncDisposableStack();
  const anchors = await Promise.all(Array.from({ length: 6 }, () => started({ anchor: true })));
  for (const anchor of anchors) stack.use(anchor);
  const machines = await homes(stack, anchors, 'abcdefgh'.split(''));
  await until(() => machines.every(({ overlay }) => overlay.reservations().length === 2), 'two places each');
  assert.ok(new Set(machines.flatMap(({ overlay }) => overlay.reservations())).size > 2, 'not all at the same two');
  const some = machines.slice(0, 4);
  for (const from of some) {
    for (const to of some) if (from !== to) await from.overlay.connect(to.peer, soon());
  }
});

test('an anchor dies: its members move to another and still meet', async () => {
  await using stack = new AsyncDisposableStack();
  const anchors = await Promise.all(Array.from({ length: 3 }, () => started({ anchor: true })));
  for (const anchor of anchors) stack.use(anchor);
  const [alice, bob] = (await homes(stack, anchors, ['alice', 'bob'])) as [Machine, Machine];
  const held = (): number[] => [alice, bob].map(({ overlay }) => overlay.reservations().length);
  await until(() => held().every((count) => count === 2), 'two places each');
  await alice.overlay.connect(bob.peer, soon());

  const relaying = alice.overlay.reach(bob.peer).anchor;
  const dead = anchors.find(({ peer }) => peer === relaying);
  assert.ok(dead !== undefined);
  await dead.overlay.stop();
  const isElsewhere = ({ overlay }: Machine): boolean => {
    return overlay.reservations().length === 2 && !overlay.reservations().includes(dead.peer);
  };
  await until(() => [alice, bob].every(isElsewhere), 'two places again, at the living ones');
  const connection = await alice.overlay.connect(bob.peer, soon());
  assert.equal(connection.remote, null);
  assert.notEqual(alice.overlay.reach(bob.peer).anchor, dead.peer);
});

test('an anchor that is about to go takes nobody new; whoever has a place keeps it until it is gone', async () => {
  await using stack = new AsyncDisposableStack();
  const anchors = await Promise.all(Array.from({ length: 3 }, () => started({ anchor: true })));
  for (const anchor of anchors) stack.use(anchor);
  const [leaving, ...staying] = anchors;
  assert.ok(leaving !== undefined);
  const [early] = await homes(stack, [leaving], ['early']);
  await until(() => early?.overlay.reservations().length === 1, 'a place');
  leaving.overlay.leaveAsAnchor();
  const [late] = await homes(stack, anchors, ['late']);
  await until(() => late?.overlay.reservations().length === 2, 'two places');
  assert.deepEqual(late?.overlay.reservations().toSorted(), staying.map(({ peer }) => peer).toSorted());
  assert.deepEqual(early?.overlay.reservations(), [leaving.peer]);
});

test('with one anchor left of three, members still meet there', async () => {
  await using stack = new AsyncDisposableStack();
  const anchors = await Promise.all(Array.from({ length: 3 }, () => started({ anchor: true })));
  for (const anchor of anchors) stack.use(anchor);
  const [alice, bob] = (await homes(stack, anchors, ['alice', 'bob'])) as [Machine, Machine];
  await anchors[0]?.overlay.stop();
  await anchors[1]?.overlay.stop();
  const last = anchors[2]?.peer;
  await until(() => [alice, bob].every(({ overlay }) => overlay.reservations().includes(last ?? '')), 'both are there');
  await alice.overlay.connect(bob.peer, soon());
  assert.equal(alice.overlay.reach(bob.peer).anchor, last);
});
