import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Entry } from '../src/entry.ts';
import { Journal } from '../src/journal.ts';

function temporaryFile(): { path: string } & Disposable {
  const directory = mkdtempSync(join(tmpdir(), 'guestbook-'));
  return {
    path: join(directory, 'book.journal'),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}

const entry = (number: number): Entry => ({
  number,
  time: '2026-11-20T10:00:00.000Z',
  key: `k${number}`,
  name: 'Ana',
  text: `line ${number} é`,
});

test('what was acknowledged is there after opening again', async () => {
  using file = temporaryFile();
  {
    await using book = await Journal.open(file.path).then(({ journal }) => journal);
    await Promise.all([1, 2, 3].map((number) => book.append(entry(number))));
    await book.append(entry(4));
  }
  const { journal, entries } = await Journal.open(file.path);
  await journal[Symbol.asyncDispose]();
  assert.deepEqual(entries, [1, 2, 3, 4].map(entry));
});

test('a file cut at any byte opens with a prefix of what was written, and takes more', async () => {
  using file = temporaryFile();
  {
    const { journal } = await Journal.open(file.path);
    for (const number of [1, 2, 3]) await journal.append(entry(number));
    await journal[Symbol.asyncDispose]();
  }
  const whole = await readFile(file.path);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length), fc.uint8Array({ maxLength: 20 }), async (cut, garbage) => {
      const noNewline = garbage.filter((byte) => byte !== 0x0a);
      await writeFile(file.path, Buffer.concat([whole.subarray(0, cut), noNewline]));
      const first = await Journal.open(file.path);
      await first.journal.append(entry(9));
      await first.journal[Symbol.asyncDispose]();
      const second = await Journal.open(file.path);
      await second.journal[Symbol.asyncDispose]();
      assert.deepEqual(first.entries, [1, 2, 3].slice(0, first.entries.length).map(entry));
      assert.deepEqual(second.entries, [...first.entries, entry(9)]);
    }),
    { numRuns: 60 },
  );
});

test('damage before the last line is not passed over', async () => {
  using file = temporaryFile();
  {
    const { journal } = await Journal.open(file.path);
    await journal.append(entry(1));
    await journal.append(entry(2));
    await journal[Symbol.asyncDispose]();
  }
  const bytes = await readFile(file.path);
  bytes[12] = (bytes[12] ?? 0) ^ 1;
  await writeFile(file.path, bytes);
  await assert.rejects(Journal.open(file.path), { code: 'JOURNAL_DAMAGED' });
});

test('a full journal and a full queue refuse with their codes and keep what they have', async () => {
  using file = temporaryFile();
  {
    const { journal } = await Journal.open(file.path, { maxBytes: 250, maxWaiting: 1 });
    const first = journal.append(entry(1));
    const second = journal.append(entry(2));
    await assert.rejects(journal.append(entry(3)), { code: 'BUSY' });
    await first;
    await second;
    await assert.rejects(journal.append(entry(4)), { code: 'JOURNAL_FULL' });
    await journal[Symbol.asyncDispose]();
  }
  const { journal, entries } = await Journal.open(file.path);
  await journal[Symbol.asyncDispose]();
  assert.deepEqual(entries, [1, 2].map(entry));
});
