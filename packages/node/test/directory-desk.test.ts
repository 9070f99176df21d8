/** What anchors say, also hostile ones, and what whoever sits at this machine is told of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatKey, type MoatError, type Signer } from '@moat/core';
import {
  formatTime,
  keyOfPerson,
  rotateEntryKey,
  signNodeEntry,
  signPersonEntry,
  type KeyRotation,
  type SignedEntry,
} from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import { DirectoryBook, type DirectoryPage } from '@moat/overlay';
import { createManualClock } from '@moat/testkit';
import { DirectoryDesk } from '../src/directory/directory-desk.ts';

const NOW = Date.now();
const signal = new AbortController().signal;
const [ben, next, thief] = [createNodeKey().signer, createNodeKey().signer, createNodeKey().signer];
const root = formatKey('ed25519', ben.publicKey);

function person(number: number, rotations: readonly KeyRotation[], signer: Signer): SignedEntry {
  return signPersonEntry({ handle: 'ben', root, rotations, number, expires: formatTime(NOW + 86_400_000) }, signer);
}

/** A desk that knows one anchor for each of these books. */
function deskOf(books: readonly (readonly SignedEntry[])[], book?: DirectoryBook): DirectoryDesk {
  const peers = books.map(() => createNodeKey().peerId);
  const put = (): Promise<boolean> => Promise.resolve(true);
  const list = ({ id }: { id: number }): Promise<DirectoryPage> =>
    Promise.resolve({ entries: books[id] ?? [], next: null, newest: 1, instance: 'i' });
  const dial = ([address = '']: readonly string[]): Promise<object> =>
    Promise.resolve({ id: peers.findIndex((peer) => address.endsWith(peer)) });
  return new DirectoryDesk({
    self: createNodeKey().peerId,
    clock: createManualClock(NOW),
    overlay: { dial, directory: { put, list } } as never,
    book,
    anchors: () => peers.map((peer) => `/ip4/203.0.113.1/tcp/4410/p2p/${peer}`),
  });
}

async function keysOf(desk: DirectoryDesk): Promise<string[]> {
  const { entries } = await desk.find({ kind: 'person', handle: 'ben' }, signal);
  return (entries as unknown as SignedEntry[]).flatMap(({ entry }) =>
    entry.kind === 'person' ? [keyOfPerson(entry)] : [],
  );
}

const renewed = person(NOW + 2, [], ben);
const moved = person(NOW, [rotateEntryKey(root, ben, next)], next);
const stolen = person(NOW + 9, [rotateEntryKey(root, ben, thief)], thief);
const keyOf = ({ publicKey }: Signer): string => formatKey('ed25519', publicKey);

test('an anchor that shows an old entry hides no newer one', async () => {
  for (const books of [
    [[renewed], [moved]],
    [[moved], [renewed]],
  ]) {
    assert.deepEqual(await keysOf(deskOf(books)), [keyOf(next)]);
  }
});

test('a key that was given on in two ways leaves a doubt, whichever anchor answers first', async () => {
  for (const books of [[[stolen], [moved]], [[moved], [stolen]], [[stolen, renewed, moved]]]) {
    assert.deepEqual((await keysOf(deskOf(books))).sort(), [keyOf(next), keyOf(thief)].sort());
  }
});

test('what an anchor made up is passed over', async () => {
  const forged = { entry: moved.entry, signature: stolen.signature };
  assert.deepEqual(await keysOf(deskOf([[forged], [renewed]])), [root]);
});

test('a machine that knows no anchor says so', async () => {
  const asked = deskOf([]).find({}, signal);
  await assert.rejects(asked, ({ code, next }: MoatError) => code === 'NO_ANCHOR_KNOWN' && next.length === 2);
});

test('a book of our own that is full keeps nobody from telling others', async () => {
  const book = new DirectoryBook({ clock: createManualClock(NOW) }, { entries: 1 });
  const expires = formatTime(NOW + 86_400_000);
  book.put(signNodeEntry({ number: NOW, expires, roles: ['node'], addresses: [] }, createNodeKey().signer), null);
  const { told } = await deskOf([[]], book).announce(renewed, signal);
  assert.deepEqual(
    told.map(({ error }) => error?.code ?? null),
    ['DIRECTORY_FULL', null],
  );
});
