/**
 * Files only their owner may read: written whole or not at all, durable before the call returns,
 * refused on reading when others could have read them.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { MoatError, errorCode } from '@moat/core';

/** More than any key file holds; a bound on what a wrong path makes us read. */
const MAX_FILE_BYTES = 64 * 1024;
const GROUP_AND_OTHERS = 0o077;

export interface WriteOptions {
  /** False = `KEY_FILE_EXISTS` when the file is there. @defaultValue true */
  readonly replace?: boolean;
}

/**
 * Writes `path` with mode 0600: temporary file beside it, fsync, rename (or link, when it must not replace),
 * fsync of the directory. Missing directories are made with mode 0700. A crash leaves the old file or the new one.
 * @throws `KEY_FILE_EXISTS`, `KEY_FILE_UNWRITABLE`
 */
export async function writePrivateFile(
  path: string,
  content: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(content);
    await file.sync();
    if (options.replace ?? true) {
      await rename(temporary, path);
    } else {
      await linkNew(temporary, path);
      await unlink(temporary);
    }
    await syncDirectory(directory);
  } catch (cause) {
    await unlink(temporary).catch(() => undefined);
    if (cause instanceof MoatError) throw cause;
    throw new MoatError('KEY_FILE_UNWRITABLE', `cannot write ${path}`, {
      cause,
      reason: errorCode(cause),
      details: { path, reason: errorCode(cause) },
    });
  }
}

/**
 * The UTF-8 text of a private file of at most 64 KiB.
 * @throws `KEY_FILE_MISSING`, `KEY_FILE_EXPOSED` (group or others have any right to it), `KEY_FILE_INVALID` (too large,
 * not UTF-8), `KEY_FILE_UNREADABLE`
 */
export async function readPrivateFile(path: string): Promise<string> {
  try {
    // O_NONBLOCK: a FIFO put in the file's place must not hang us; the checks are on the handle, so nothing can be swapped in between.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    await checkPrivate(file, path);
    return await readText(file, path);
  } catch (cause) {
    if (cause instanceof MoatError) throw cause;
    if (errorCode(cause) === 'ENOENT') {
      throw new MoatError('KEY_FILE_MISSING', `${path} does not exist`, { cause, details: { path } });
    }
    throw unreadable(path, errorCode(cause), cause);
  }
}

/** link fails where rename would silently replace a key that cannot be had back. */
async function linkNew(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (cause) {
    if (errorCode(cause) !== 'EEXIST') throw cause;
    throw new MoatError('KEY_FILE_EXISTS', `${path} exists already`, { cause, details: { path } });
  }
}

async function checkPrivate(file: FileHandle, path: string): Promise<void> {
  const stat = await file.stat();
  if (!stat.isFile()) throw unreadable(path, 'not a plain file');
  // Windows has no such bits; its files are as private as their directory's ACL.
  if (process.platform !== 'win32' && (stat.mode & GROUP_AND_OTHERS) !== 0) {
    const mode = (stat.mode & 0o777).toString(8);
    throw new MoatError('KEY_FILE_EXPOSED', `${path} has mode ${mode}: others on this machine have a right to it`, {
      details: { path, mode },
      next: [`chmod 600 ${path}`],
    });
  }
}

async function readText(file: FileHandle, path: string): Promise<string> {
  const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length);
    length += bytesRead;
    if (bytesRead === 0) break;
    if (length > MAX_FILE_BYTES) throw invalid(path, `larger than ${MAX_FILE_BYTES} bytes`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
  } catch {
    throw invalid(path, 'not UTF-8 text');
  } finally {
    buffer.fill(0);
  }
}

async function syncDirectory(directory: string): Promise<void> {
  // Windows cannot open a directory; its rename is durable with the file.
  if (process.platform === 'win32') return;
  await using handle = await open(directory, constants.O_RDONLY);
  await handle.sync();
}

function invalid(path: string, reason: string): MoatError<'KEY_FILE_INVALID'> {
  return new MoatError('KEY_FILE_INVALID', `${path} is not a key file: ${reason}`, { details: { path, reason } });
}

function unreadable(path: string, reason: string, cause?: unknown): MoatError<'KEY_FILE_UNREADABLE'> {
  return new MoatError('KEY_FILE_UNREADABLE', `cannot read ${path}: ${reason}`, {
    cause,
    reason,
    details: { path, reason },
  });
}
