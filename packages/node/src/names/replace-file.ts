/** Files of the system, replaced whole and put back exactly. */
import { chmod, chown, lstat, open, readFile, rename, rm, utimes, type FileHandle } from 'node:fs/promises';
import { errorCode } from '@moat/core';

export interface Rights {
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** Where a file is a mount point of its own, as in containers, it cannot be renamed over. */
const NOT_RENAMED: ReadonlySet<string> = new Set(['EBUSY', 'EXDEV']);

/** A crash leaves the old file or the new one; where the file is a mount point it is written in place. */
export async function replaceFile(path: string, text: string | Uint8Array, rights: Rights): Promise<void> {
  const temporary = `${path}.moat-tmp`;
  await writeDurably(temporary, text, rights);
  await moveOver(temporary, path);
}

/** The same bytes, owner, rights and time under another name, on disk before the call returns. */
export async function copyWithRights(path: string, copy: string): Promise<void> {
  const stats = await lstat(path);
  const temporary = `${copy}.moat-tmp`;
  await writeDurably(temporary, await readFile(path), stats);
  await utimes(temporary, stats.atime, stats.mtime);
  await rename(temporary, copy);
}

/** Moves a copy back over the file it was made of. */
export async function restoreFile(path: string, copy: string): Promise<void> {
  await moveOver(copy, path);
}

async function moveOver(from: string, path: string): Promise<void> {
  try {
    await rename(from, path);
  } catch (error) {
    if (!NOT_RENAMED.has(errorCode(error))) {
      throw error;
    }
    const { atime, mtime } = await lstat(from);
    await using file: FileHandle = await open(path, 'r+');
    const bytes = await readFile(from);
    await file.write(bytes, 0, bytes.length, 0);
    await file.truncate(bytes.length);
    await file.sync();
    await file.utimes(atime, mtime);
    await rm(from);
  }
}

async function writeDurably(path: string, text: string | Uint8Array, { mode, uid, gid }: Rights): Promise<void> {
  await rm(path, { force: true });
  await using file = await open(path, 'wx', 0o600);
  await file.writeFile(text);
  await file.sync();
  if (uid !== undefined && gid !== undefined && process.getuid?.() === 0) await chown(path, uid, gid);
  await chmod(path, mode & 0o7777);
}
