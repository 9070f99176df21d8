import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import { createReceipt } from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { Receipts } from '../src/receipts.ts';
import { soon, until } from './world.fixture.ts';

const DEPLOYMENT = 'a'.repeat(26);
const MEMBERS = 50;
const MAX_RECEIPTS = 64;

test('what all did reaches each member in a few messages, and costs no count of members a peer', async () => {
  const keys = Array.from({ length: MEMBERS }, createNodeKey);
  const connections = keys.map(({ peerId: peer }) => ({
    peer,
    admitted: true,
    closed: soon(60_000),
    requests: { take: () => 0 },
  }));
  let streams = 0;
  let told = 0;
  let counted = 0;
  const taken = new Set<string>();
  let serve = (_stream: object, _connection: object): Promise<void> => Promise.reject(new Error('not served'));
  const write = (bytes: Uint8Array): Promise<void> => {
    told += (JSON.parse(Buffer.from(bytes).toString()) as { receipts: unknown[] }).receipts.length;
    return Promise.resolve();
  };
  const receipts = new Receipts({
    logger: silentLogger,
    clock: systemClock,
    self: createNodeKey().peerId,
    control: {
      handle: (_protocol: string, handler: typeof serve) => (serve = handler),
      open: () => {
        streams += 1;
        return Promise.resolve({ write, close: () => Promise.resolve(), abort: () => undefined });
      },
    },
    probation: { all: () => connections },
    deployments: {
      sharedWith: () => [DEPLOYMENT],
      members: () => {
        counted += 1;
        return keys;
      },
    },
    owners: {
      keeps: () => true,
      isFellowKeeper: () => false,
      acceptReceipt: (_from: string, { signature }: { signature: string }) =>
        !taken.has(signature) && taken.add(signature).size > 0,
    },
  } as never);
  receipts.serve();
  const message = Buffer.from(JSON.stringify({ receipts: keys.map(receiptOf) }));
  await serve({ read: () => Promise.resolve(message) }, connections[0] ?? {});
  const others = (MEMBERS - 1) * (MEMBERS - 1);
  await until(() => told === others, 'all are told');
  assert.ok(streams <= 3 * MEMBERS, `${streams} messages`);
  assert.ok(counted <= MAX_RECEIPTS, `members counted ${counted} times`);
  // What is known is told to nobody again.
  await serve({ read: () => Promise.resolve(message) }, connections[1] ?? {});
  assert.equal(told, others);
});

test('what a peer does not take at first is offered again, the newest of it', async () => {
  const { peerId: peer } = createNodeKey();
  const connection = { peer, admitted: true, closed: soon(60_000) };
  const offered: unknown[] = [];
  const receipts = new Receipts({
    logger: silentLogger,
    clock: {
      now: () => 0,
      after: (_: number, work: () => void) => ({ cancel: () => undefined, run: setImmediate(work) }),
    },
    self: createNodeKey().peerId,
    control: {
      open: () => {
        if (offered.push('refused') === 1) return Promise.reject(new Error('busy'));
        const write = (bytes: Uint8Array) =>
          Promise.resolve(void offered.push(JSON.parse(Buffer.from(bytes).toString())));
        return Promise.resolve({ write, close: () => Promise.resolve(), abort: () => undefined });
      },
    },
    probation: { all: () => [connection] },
    deployments: { sharedWith: () => [DEPLOYMENT] },
  } as never);
  const receipt = receiptOf(createNodeKey());
  receipts.announce(receipt as never);
  await until(() => offered.length === 3, 'it is offered again');
  assert.deepEqual(offered[2], { receipts: [receipt] });
});

function receiptOf({ signer }: NodeKey): object {
  const said = { version: 0, head: 'A'.repeat(43), result: 'applied' as const, code: null };
  return createReceipt({ deployment: DEPLOYMENT, ...said, time: '2026-11-21T00:00:00Z' }, signer);
}
