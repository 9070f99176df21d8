/** Files and stdin as arguments, with coded errors and bounds. */
import { MoatError, errorCode } from '@moat/core';
import { open, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { isAbsolute, join } from 'node:path';
import type { Io } from '../io.ts';
import { fileReason } from '../output/system-error.ts';

/** Nothing Moat reads by hand is larger. */
const MAX_INPUT_BYTES = 1024 * 1024;

export function resolvePath(io: Io, path: string): string {
  return isAbsolute(path) ? path : join(io.cwd, path);
}

/** @throws `FILE_MISSING`, `FILE_UNREADABLE`, `FILE_TOO_LARGE` */
export async function readTextFile(io: Io, path: string, next: readonly string[] = []): Promise<string> {
  try {
    await using file = await open(resolvePath(io, path));
    return (await readBounded(file, path)).toString('utf8');
  } catch (error) {
    throw fileError(error, path, next);
  }
}

/** Stops at the bound, so that a device such as /dev/zero ends too. */
async function readBounded(file: FileHandle, path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const { bytesRead, buffer } = await file.read({ buffer: Buffer.allocUnsafe(64 * 1024) });
    if (bytesRead === 0) return Buffer.concat(chunks);
    bytes += bytesRead;
    if (bytes > MAX_INPUT_BYTES) throw tooLarge(path);
    chunks.push(buffer.subarray(0, bytesRead));
  }
}

/** A file's text, or all of stdin for `-`. @throws `FILE_MISSING`, `FILE_UNREADABLE`, `FILE_TOO_LARGE` */
export async function readFileOrStdin(io: Io, path: string): Promise<string> {
  if (path !== '-') return readTextFile(io, path);
  if (io.stdin.isTTY === true) io.stderr.write('Paste it, then press Enter and Ctrl-D.\n');
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of addAbortSignal(io.signal, io.stdin)) {
    const part = Buffer.from(chunk as Uint8Array);
    bytes += part.length;
    if (bytes > MAX_INPUT_BYTES) throw tooLarge('stdin');
    chunks.push(part);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** @throws `FILE_EXISTS`, `FILE_UNREADABLE` */
export async function writeNewFile(io: Io, path: string, text: string, mode = 0o644): Promise<void> {
  const target = resolvePath(io, path);
  try {
    await writeFile(target, text, { flag: 'wx', mode, flush: true });
  } catch (error) {
    // A full disk leaves an empty file behind.
    if (errorCode(error) === 'ENOSPC') await rm(target, { force: true });
    if (errorCode(error) === 'EEXIST') {
      throw new MoatError('FILE_EXISTS', `${path} is there already`, {
        next: ['choose another path, or move the file away'],
      });
    }
    throw fileError(error, path, []);
  }
}

/** Replaces a file whole or not at all. @throws `FILE_UNREADABLE` */
export async function replaceFile(io: Io, path: string, text: string, mode = 0o644): Promise<void> {
  const target = resolvePath(io, path);
  const temporary = `${target}.${process.pid}.new`;
  try {
    await writeFile(temporary, text, { mode, flush: true });
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileError(error, path, []);
  }
}

/**
 * A place for a file that must not exist yet, taken before work that cannot be undone and filled after it.
 * The path is free again unless {@link ReservedFile.fill} was called.
 */
export interface ReservedFile extends AsyncDisposable {
  fill(text: string): Promise<void>;
}

/** @throws `FILE_EXISTS`, `FILE_UNREADABLE` */
export async function reserveFile(io: Io, path: string, mode: number): Promise<ReservedFile> {
  await writeNewFile(io, path, '', mode);
  let filled = false;
  return {
    async fill(text) {
      await replaceFile(io, path, text, mode);
      filled = true;
    },
    async [Symbol.asyncDispose]() {
      if (!filled) await rm(resolvePath(io, path), { force: true });
    },
  };
}

function tooLarge(path: string): MoatError {
  return new MoatError('FILE_TOO_LARGE', `${path} is larger than 1 MiB`, { reason: 'nothing that Moat reads is' });
}

function fileError(error: unknown, path: string, next: readonly string[]): unknown {
  const code = errorCode(error);
  if (code === 'ENOENT') {
    return new MoatError('FILE_MISSING', `there is no ${path}`, { cause: error, next });
  }
  if (!/^E[A-Z]+$/.test(code)) return error;
  return new MoatError('FILE_UNREADABLE', `cannot use ${path}`, { cause: error, reason: fileReason(code) });
}
