/** Files and stdin as arguments, with coded errors and bounds. */
import { MoatError, errorCode } from '@moat/core';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { Io } from '../io.ts';

/** Nothing Moat reads by hand is larger. */
const MAX_INPUT_BYTES = 1024 * 1024;

export function resolvePath(io: Io, path: string): string {
  return isAbsolute(path) ? path : join(io.cwd, path);
}

/** @throws `FILE_MISSING`, `FILE_UNREADABLE` */
export async function readTextFile(io: Io, path: string, next: readonly string[] = []): Promise<string> {
  try {
    const bytes = await readFile(resolvePath(io, path));
    if (bytes.length > MAX_INPUT_BYTES) throw new MoatError('FILE_UNREADABLE', `${path} is larger than 1 MiB`);
    return bytes.toString('utf8');
  } catch (error) {
    throw fileError(error, path, next);
  }
}

/** A file's text, or all of stdin for `-`. @throws `FILE_MISSING`, `FILE_UNREADABLE` */
export async function readFileOrStdin(io: Io, path: string): Promise<string> {
  if (path !== '-') return readTextFile(io, path);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of io.stdin) {
    const part = Buffer.from(chunk as Uint8Array);
    bytes += part.length;
    if (bytes > MAX_INPUT_BYTES) throw new MoatError('FILE_UNREADABLE', 'stdin has more than 1 MiB');
    chunks.push(part);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** @throws `FILE_EXISTS`, `FILE_UNREADABLE` */
export async function writeNewFile(io: Io, path: string, text: string, mode = 0o644): Promise<void> {
  try {
    await writeFile(resolvePath(io, path), text, { flag: 'wx', mode });
  } catch (error) {
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
    throw fileError(error, path, []);
  }
}

function fileError(error: unknown, path: string, next: readonly string[]): unknown {
  const code = errorCode(error);
  if (code === 'ENOENT') {
    return new MoatError('FILE_MISSING', `there is no ${path}`, { cause: error, next });
  }
  if (!/^E[A-Z]+$/.test(code)) return error;
  return new MoatError('FILE_UNREADABLE', `${path}: the operating system says ${code}`, { cause: error });
}
