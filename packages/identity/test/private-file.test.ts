import assert from 'node:assert/strict';
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isMoatError } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';
import { temporaryDirectory } from './temporary-directory.ts';

const coded =
  (code: string) =>
  (error: unknown): boolean =>
    isMoatError(error, code);

describe('private file', () => {
  it('is written whole, 0600, and read back', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'a', 'b', 'key');
    await writePrivateFile(path, 'one');
    await writePrivateFile(path, 'two');
    assert.equal(await readPrivateFile(path), 'two');
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.equal((await stat(join(directory.path, 'a'))).mode & 0o777, 0o700);
    assert.deepEqual(await readdir(join(directory.path, 'a', 'b')), ['key']);
  });

  it('replaces a file others could read by one they cannot', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'key');
    await writeFile(path, 'old', { mode: 0o644 });
    await writePrivateFile(path, 'new');
    assert.equal(await readPrivateFile(path), 'new');
  });

  it('is kept when it must not be replaced', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'key');
    await writePrivateFile(path, 'one', { replace: false });
    await assert.rejects(writePrivateFile(path, 'two', { replace: false }), coded('KEY_FILE_EXISTS'));
    assert.equal(await readFile(path, 'utf8'), 'one');
    assert.deepEqual(await readdir(directory.path), ['key']);
  });

  it('says what is wrong with a path', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'key');
    await assert.rejects(readPrivateFile(path), coded('KEY_FILE_MISSING'));
    await mkdir(path, { mode: 0o700 });
    await assert.rejects(readPrivateFile(path), coded('KEY_FILE_UNREADABLE'));
    await assert.rejects(writePrivateFile(path, 'x'), coded('KEY_FILE_UNWRITABLE'));
    await assert.rejects(writePrivateFile(join('/dev/null', 'key'), 'x'), coded('KEY_FILE_UNWRITABLE'));
    assert.deepEqual(await readdir(directory.path), ['key']);
  });

  it('is refused when too large or not text', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'key');
    await writePrivateFile(path, Buffer.alloc(64 * 1024, 'a'));
    assert.equal((await readPrivateFile(path)).length, 64 * 1024);
    await writePrivateFile(path, Buffer.alloc(64 * 1024 + 1, 'a'));
    await assert.rejects(readPrivateFile(path), coded('KEY_FILE_INVALID'));
    await writePrivateFile(path, Uint8Array.of(0xff, 0xfe, 0xfd));
    await assert.rejects(readPrivateFile(path), coded('KEY_FILE_INVALID'));
  });
});
