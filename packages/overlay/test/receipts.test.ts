import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger, sleep, type Clock } from '@moat/core';
import { createReceipt, type SignedReceipt } from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createManualClock } from '@moat/testkit';
import { Receipts } from '../src/receipts.ts';
import { soon, until } from './world.fixture.ts';

const DEPLOYMENT = 'a'.repeat(26);
const KEEPERS = 3;

type Serve = (stream: object, connection: object) => Promise<void>;

interface World {
  readonly receipts: Receipts;
  readonly serve: Serve;
  readonly connections: readonly object[];
  /** Receipts of each message that left, by the peer it went to. */
  readonly told: { readonly peer: string; readonly receipts: readonly SignedReceipt[] }[];
  /** Receipts that were judged. */
  readonly looked: () => number;
}

/** A machine connected to all others, the first of which are keepers; each open of a stream may `refuse`. */
function begin(
  keys: readonly NodeKey[],
  clock: Clock,
  options: {
    readonly keeps?: boolean;
    readonly members?: number;
    readonly refuse?: () => boolean;
    /** What a keeper says that is asked; none = it is silent. */
    readonly answer?: object | undefined;
  } = {},
): World {
  let looked = 0;
  const connections = keys.map(({ peerId: peer }) => ({
    peer,
    admitted: true,
    closed: soon(60_000),
    requests: { take: () => 0 },
  }));
  const keepers = new Set(keys.slice(0, KEEPERS).map(({ peerId }) => peerId));
  const taken: SignedReceipt[] = [];
  const told: World['told'] = [];
  let serve: Serve = () => Promise.reject(new Error('not served'));
  const receipts = new Receipts({
    logger: silentLogger,
    clock,
    self: createNodeKey().peerId,
    control: {
      handle: (_protocol: string, handler: Serve) => (serve = handler),
      open: ({ peer }: { peer: string }) => {
        if (options.refuse?.() === true) return Promise.reject(new Error('busy'));
        const write = (bytes: Uint8Array): Promise<void> => {
          const message = JSON.parse(Buffer.from(bytes).toString()) as { kind: string; receipts: SignedReceipt[] };
          if (message.kind === 'ask') return Promise.resolve();
          told.push({ peer, receipts: message.receipts });
          return Promise.resolve();
        };
        const body = bytesOf(options.answer ?? {});
        const length = Buffer.alloc(4);
        length.writeUInt32BE(body.length);
        const parts = [length, body];
        const read = (signal: AbortSignal): Promise<Uint8Array> => {
          const part = options.answer === undefined ? undefined : parts.shift();
          return part === undefined ? sleep(clock, 60_000, signal).then(() => body) : Promise.resolve(part);
        };
        return Promise.resolve({ write, read, close: () => Promise.resolve(), abort: () => undefined });
      },
    },
    probation: { ofPeers: (peers: string[]) => connections.filter(({ peer }) => peers.includes(peer)) },
    deployments: {
      sharedWith: () => [DEPLOYMENT],
      members: () =>
        Array.from({ length: options.members ?? keys.length }, (_, at) => ({
          peer: keys[at]?.peerId ?? '',
          keeper: at < KEEPERS,
        })),
    },
    owners: {
      keeps: () => options.keeps === true,
      isKeeper: (_: string, peer: string) => keepers.has(peer),
      receipts: () => taken,
      acceptReceipt: (_from: string, signed: SignedReceipt) =>
        ++looked > 0 && !taken.some(({ signature }) => signature === signed.signature) && taken.push(signed) > 0,
    },
  } as never);
  receipts.serve();
  return { receipts, serve: (...args) => serve(...args), connections, told, looked: () => looked };
}

test('keepers tell each other what all did in a few messages; a member is told when it asks', async () => {
  const keys = Array.from({ length: 50 }, createNodeKey);
  const clock = createManualClock(0);
  const { serve, connections, told } = begin(keys, clock, { keeps: true });
  const all = keys.map(receiptOf);
  const heard = { read: () => Promise.resolve(bytesOf({ kind: 'tell', receipts: all })) };
  await serve(heard, connections[20] ?? {});
  clock.advance(1000);
  await until(() => told.length === KEEPERS, 'the keepers are told');
  for (const { peer, receipts } of told) {
    assert.ok(keys.slice(0, KEEPERS).some(({ peerId }) => peerId === peer));
    assert.equal(receipts.length, all.length - 1, 'all but what it did itself');
  }
  // What is known is told to nobody again.
  await serve(heard, connections[21] ?? {});
  clock.advance(1000);
  assert.equal(told.length, KEEPERS);

  const answer: Uint8Array[] = [];
  const ask = { kind: 'ask', deployment: DEPLOYMENT };
  const write = (bytes: Uint8Array): Promise<void> => Promise.resolve(void answer.push(bytes));
  await serve({ read: () => Promise.resolve(bytesOf(ask)), write }, connections[30] ?? {});
  assert.deepEqual(JSON.parse(Buffer.concat(answer.slice(1)).toString()), { receipts: all });
});

test('a member tells keepers alone, and in a large network not in the moment in which all do', async () => {
  const keys = Array.from({ length: 5 }, createNodeKey);
  const clock = createManualClock(0);
  const { receipts, told } = begin(keys, clock, { members: 1000 });
  receipts.announce(receiptOf(createNodeKey()));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(told.length, 0);
  clock.advance(5000);
  await until(() => told.length === KEEPERS, 'each keeper is told');
  assert.deepEqual(new Set(told.map(({ peer }) => peer)), new Set(keys.slice(0, KEEPERS).map(({ peerId }) => peerId)));
});

test('what a peer does not take at first is offered again, the newest of it', async () => {
  const clock = {
    now: () => 0,
    after: (_: number, work: () => void) => ({ cancel: () => undefined, run: setImmediate(work) }),
  };
  let opened = 0;
  const { receipts, told } = begin([createNodeKey()], clock, { refuse: () => ++opened === 1 });
  const receipt = receiptOf(createNodeKey());
  receipts.announce(receipt);
  await until(() => told.length === 1, 'it is offered again');
  assert.deepEqual(told[0]?.receipts, [receipt]);
});

test('of what a keeper answers one receipt of each machine is looked at, and silent keepers are not waited for', async () => {
  const mallory = createNodeKey();
  const answers = [{ receipts: Array.from({ length: 150 }, () => receiptOf(mallory)) }, undefined];
  for (const answer of answers) {
    const clock = createManualClock(0);
    const keys = Array.from({ length: 5 }, createNodeKey);
    const { receipts, looked } = begin(keys, clock, { answer });
    let isOver = false;
    void receipts.ask(DEPLOYMENT).then(() => (isOver = true));
    for (let ms = 0; ms < 6000; ms += 100) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(100);
    }
    await until(() => isOver, 'the question is over');
    assert.equal(looked(), answer === undefined ? 0 : 1);
  }
});

function receiptOf({ signer }: NodeKey): SignedReceipt {
  const said = { version: 0, head: 'A'.repeat(43), result: 'applied' as const, code: null };
  return createReceipt({ deployment: DEPLOYMENT, ...said, time: '2026-11-21T00:00:00Z' }, signer);
}

function bytesOf(message: object): Uint8Array {
  return Buffer.from(JSON.stringify(message));
}
