import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatKey, silentLogger, systemClock, type Signer } from '@moat/core';
import {
  formatTime,
  rotateEntryKey,
  signNodeEntry,
  signPersonEntry,
  subjectOf,
  type NodeEntry,
  type SignedEntry,
} from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import {
  DirectoryAnnouncer,
  DirectoryBook,
  DirectoryCopy,
  createMemoryAddressBook,
  createOverlay,
  noDeployments,
  type DirectoryStore,
  type Overlay,
} from '@moat/overlay';
import { createManualClock } from '@moat/testkit';
import { soon } from './world.fixture.ts';

const DAY = 86_400_000;
const NOW = Date.now();

function machine(fields: Partial<NodeEntry> = {}, signer: Signer = createNodeKey().signer): SignedEntry {
  const expires = formatTime((fields.number ?? NOW) + DAY);
  return signNodeEntry({ number: NOW, expires, roles: ['node'], addresses: [], ...fields }, signer);
}

function person(handle: string, signer: Signer = createNodeKey().signer, number: number = NOW): SignedEntry {
  const root = formatKey('ed25519', signer.publicKey);
  return signPersonEntry({ handle, root, rotations: [], number, expires: formatTime(NOW + DAY) }, signer);
}

interface Anchor extends AsyncDisposable {
  readonly overlay: Overlay;
  readonly book: DirectoryBook;
  readonly address: string;
}

async function anchor(limits: ConstructorParameters<typeof DirectoryBook>[1] = {}): Promise<Anchor> {
  const book = new DirectoryBook({ clock: systemClock }, limits);
  const overlay = await machineOverlay(book);
  return { overlay, book, address: overlay.addresses()[0] ?? '', [Symbol.asyncDispose]: () => overlay.stop() };
}

async function machineOverlay(directory?: DirectoryBook): Promise<Overlay> {
  const overlay = createOverlay(
    {
      logger: silentLogger,
      clock: systemClock,
      key: createNodeKey(),
      addressBook: createMemoryAddressBook(),
      deployments: noDeployments,
      ...(directory === undefined ? {} : { directory }),
    },
    { listen: ['/ip4/127.0.0.1/tcp/0'], mdns: false, anchor: directory !== undefined },
  );
  await overlay.start({ signal: soon() });
  return overlay;
}

test('a stranger is found by a stranger, who verifies it', async () => {
  await using hub = await anchor();
  await using one = await machineOverlay();
  await using other = await machineOverlay();
  const gateway = machine({ roles: ['anchor', 'gateway'], domain: 'apps.example.com', region: 'eu-west' });
  const connection = await one.dial([hub.address], soon());
  assert.equal(await one.directory.put(connection, gateway, soon()), true);
  assert.equal(await one.directory.put(connection, gateway, soon()), false, 'known already');
  assert.equal(await one.directory.put(connection, person('ben'), soon()), true);

  const asking = await other.dial([hub.address], soon());
  const found = async (query: object): Promise<readonly SignedEntry[]> =>
    (await other.directory.list(asking, query, soon())).entries;
  assert.deepEqual(await found({ role: 'gateway' }), [gateway]);
  assert.deepEqual(await found({ region: 'us-east' }), []);
  assert.equal((await found({ handle: 'ben' })).length, 1);
  assert.equal((await found({})).length, 2);
});

test('a forged entry is refused with its code, and who is no anchor has no directory', async () => {
  await using hub = await anchor();
  await using one = await machineOverlay();
  const connection = await one.dial([hub.address], soon());
  const { entry, signature } = machine();
  const forged = { entry: { ...entry, number: NOW + 1 } as NodeEntry, signature };
  await assert.rejects(one.directory.put(connection, forged, soon()), { code: 'DIRECTORY_FORGED' });
  assert.equal(hub.book.size, 0);
  await using plain = await machineOverlay();
  const other = await one.dial(plain.addresses(), soon());
  await assert.rejects(one.directory.list(other, {}, soon()), { code: 'PROTOCOL_UNSUPPORTED' });
});

test('a book that cannot be written answers with a code and nothing of why', async () => {
  const broken = (): never => {
    throw new Error('disk full at /var/lib/secret');
  };
  const store: DirectoryStore = { load: () => [], save: broken, delete: broken };
  await using hub = await machineOverlay(new DirectoryBook({ clock: systemClock, store }));
  await using one = await machineOverlay();
  const connection = await one.dial(hub.addresses(), soon());
  await assert.rejects(one.directory.put(connection, machine(), soon()), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'DIRECTORY_FAILED');
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

test('anchors copy each other, whole books too, and any one may die', async () => {
  await using first = await anchor();
  await using second = await anchor();
  const everybody = Array.from({ length: 200 }, () => machine({ terms: 'x'.repeat(250) }));
  for (const signed of everybody) first.book.put(signed, null);
  const { overlay, book } = second;
  const copy = new DirectoryCopy(
    { clock: systemClock, logger: silentLogger, overlay, book },
    { anchors: [first.address] },
  );
  await copy.look();
  assert.equal(book.size, everybody.length, 'several pages');
  const late = person('late');
  first.book.put(late, null);
  await copy.look();
  assert.equal(book.list({ handle: 'late' }).entries.length, 1);
  copy.stop();
});

test('an anchor that began anew is read from its beginning', async () => {
  const copied = new DirectoryBook({ clock: systemClock });
  let book = new DirectoryBook({ clock: systemClock });
  for (let i = 0; i < 5; i += 1) book.put(machine(), null);
  const overlay = {
    dial: () => Promise.resolve({}),
    directory: { list: (_: unknown, query: object) => Promise.resolve(book.list(query)) },
  };
  const deps = { clock: systemClock, logger: silentLogger, overlay: overlay as never, book: copied };
  const copy = new DirectoryCopy(deps, { anchors: ['/ip4/203.0.113.1/tcp/1/p2p/x'] });
  await copy.look();
  assert.equal(copied.size, 5);
  book = new DirectoryBook({ clock: systemClock });
  book.put(machine(), null);
  await copy.look();
  assert.equal(copied.size, 6);
});

test('a machine says again that it is there, to those who have not heard', async () => {
  const clock = createManualClock(NOW);
  const { signer } = createNodeKey();
  const told: string[] = [];
  let isUp = false;
  const overlay = {
    dial: (addresses: readonly string[]) => Promise.resolve({ id: addresses[0] }),
    directory: {
      put: ({ id }: { id: string }) => {
        if (id === 'two' && !isUp) return Promise.reject(new Error('down'));
        told.push(id);
        return Promise.resolve(true);
      },
    },
  };
  const book = new DirectoryBook({ clock });
  const announcer = new DirectoryAnnouncer({
    clock,
    logger: silentLogger,
    overlay: overlay as never,
    book,
    sign: () => machine({ number: clock.now() }, signer),
    anchors: () => ['one', 'two'],
  });
  await announcer.tell();
  assert.deepEqual(told, ['one']);
  isUp = true;
  await announcer.tell();
  assert.deepEqual(told, ['one', 'two']);
  await announcer.tell();
  assert.equal(told.length, 2, 'nobody is told twice');
  clock.advance(8 * 3_600_000);
  await announcer.tell();
  assert.equal(told.length, 4, 'until it is signed anew');
  assert.equal(book.size, 1);
});

test('a book has bounds, and who is in it stays', () => {
  const clock = createManualClock(NOW);
  const book = new DirectoryBook({ clock }, { entries: 4, perHandle: 2, newPerOrigin: 3 });
  const { signer } = createNodeKey();
  book.put(machine({}, signer), '203.0.113.1');
  book.put(machine({ number: NOW + 1 }, signer), '203.0.113.1');
  book.put(person('ben'), '203.0.113.1');
  book.put(person('ben'), '203.0.113.1');
  assert.throws(() => book.put(person('ben'), '203.0.113.2'), { code: 'DIRECTORY_FULL' }, 'too many bens');
  assert.throws(() => book.put(machine(), '203.0.113.1'), { code: 'DIRECTORY_FULL' }, 'too many from there');
  book.put(machine(), '203.0.113.2');
  assert.throws(() => book.put(machine(), '203.0.113.3'), { code: 'DIRECTORY_FULL' }, 'too many in all');
  assert.ok(book.put(machine({ number: NOW + 2 }, signer), '203.0.113.9'), 'a renewal always finds room');
  clock.advance(DAY + 60_000);
  book.put(machine({ number: clock.now() }), '203.0.113.3');
  assert.equal(book.size, 1, 'what expired made room');
});

test('nobody comes under a crowded handle by another, and people leave machines their room', () => {
  const book = new DirectoryBook({ clock: createManualClock(NOW) }, { entries: 4, persons: 2, perHandle: 1 });
  const { signer } = createNodeKey();
  book.put(person('ben'), null);
  book.put(person('bob', signer), null);
  assert.throws(() => book.put(person('ben', signer, NOW + 1), null), { code: 'DIRECTORY_FULL' });
  assert.ok(book.put(person('bobby', signer, NOW + 2), null), 'a handle with room');
  assert.ok(book.put(person('bobby', signer, NOW + 3), null), 'and the same again');
  assert.throws(() => book.put(person('eve'), null), { code: 'DIRECTORY_FULL' }, 'too many people');
  assert.ok(book.put(machine(), null));
});

test('an anchor whose own book is full says to others that it is there', async () => {
  const book = new DirectoryBook({ clock: createManualClock(NOW) }, { entries: 1 });
  book.put(machine(), null);
  const told: string[] = [];
  const overlay = {
    dial: (addresses: readonly string[]) => Promise.resolve({ id: addresses[0] }),
    directory: { put: ({ id }: { id: string }) => Promise.resolve(told.push(id) > 0) },
  };
  const announcer = new DirectoryAnnouncer({
    clock: createManualClock(NOW),
    logger: silentLogger,
    overlay: overlay as never,
    book,
    sign: () => machine(),
    anchors: () => ['one'],
  });
  await announcer.tell();
  assert.deepEqual(told, ['one']);
});

test('a page costs what it costs, however many there are and however few are asked for', () => {
  const clock = createManualClock(NOW);
  const book = new DirectoryBook({ clock });
  const { signer } = createNodeKey();
  for (let i = 0; i < 5_000; i += 1)
    book.put(machine({ number: NOW + 1 + i }, i % 50 === 0 ? signer : createNodeKey().signer), null);
  book.put(person('ben'), null);
  let [pages, after, found] = [0, 0, 0];
  for (;;) {
    const { entries, next } = book.list({ handle: 'ben', after });
    pages += 1;
    found += entries.length;
    if (next === null) break;
    assert.ok(next > after);
    after = next;
  }
  assert.equal(found, 1);
  assert.ok(pages > 1 && pages < 5, String(pages));
});

test('what was taken is there after a restart', () => {
  const disk = new Map<string, SignedEntry>();
  const store: DirectoryStore = {
    load: () => [...disk.values()],
    save: (subject, signed) => void disk.set(subject, signed),
    delete: (subject) => void disk.delete(subject),
  };
  const [before, after] = [createNodeKey().signer, createNodeKey().signer];
  const root = formatKey('ed25519', before.publicKey);
  const old = person('ben', before);
  const rotations = [rotateEntryKey(root, before, after)];
  const renewed = signPersonEntry(
    { handle: 'ben', root, rotations, number: NOW + 1, expires: formatTime(NOW + DAY) },
    after,
  );
  const book = new DirectoryBook({ clock: createManualClock(NOW), store });
  book.put(old, null);
  book.put(renewed, null);
  const again = new DirectoryBook({ clock: createManualClock(NOW), store });
  assert.deepEqual(again.list({ handle: 'ben' }).entries, [renewed]);
  assert.equal(again.put(person('ben', before, NOW + 9), null), false, 'a key that was replaced says nothing any more');
  assert.deepEqual([...disk.keys()], [subjectOf(renewed.entry)]);
});
