/**
 * A key that takes another's place in its file. At every instant the key that counts is in `FILE` or `FILE.new`: the new
 * one is on disk before anybody hears of it, the old one stays in `FILE` until no deployment needs it, and then beside it
 * for good.
 */
import { MoatError, isMoatError } from '@moat/core';
import {
  createOwnerKey,
  isSealed,
  openOwnerKey,
  readPrivateFile,
  sealOwnerKey,
  writePrivateFile,
  type OwnerKeyPair,
} from '@moat/identity';
import { unlink } from 'node:fs/promises';
import { publicHalf } from './public-key.ts';

/** Where the key waits until it has taken the place of the one in `path`. */
export function successorPath(path: string): string {
  return `${path}.new`;
}

/**
 * The key that is to succeed, made now or by a run before that did not come to its end.
 * @param passphrase null leaves the file plain.
 * @throws `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID`, `KEY_FILE_UNWRITABLE`, `PASSPHRASE_WRONG`
 */
export async function prepareSuccessor(path: string, passphrase: string | null): Promise<OwnerKeyPair> {
  const waiting = await readIfThere(successorPath(path));
  if (waiting !== undefined) return openWaiting(path, waiting, passphrase);
  const pair = createOwnerKey();
  await writePrivateFile(successorPath(path), sealOwnerKey(pair, passphrase), { replace: false });
  return pair;
}

/**
 * True when a run before ended right after the new key had taken its place; what it left is removed. The file needs no
 * passphrase for that.
 */
export async function finishSuccession(path: string): Promise<boolean> {
  const [now, waiting] = [await readIfThere(path), await readIfThere(successorPath(path))];
  if (now === undefined || waiting === undefined || publicHalf(now) !== publicHalf(waiting)) return false;
  await unlink(successorPath(path));
  return true;
}

/** Puts the waiting key in the place of the one in `path`. Returns where that one is kept; null when there was none. */
export async function installSuccessor(path: string): Promise<string | null> {
  const before = await readIfThere(path);
  const kept = before === undefined ? null : `${path}.old-${publicHalf(before).slice('ed25519:'.length).slice(0, 8)}`;
  if (kept !== null && before !== undefined) await writePrivateFile(kept, before);
  await writePrivateFile(path, await readPrivateFile(successorPath(path)));
  await unlink(successorPath(path));
  return kept;
}

function openWaiting(path: string, text: string, passphrase: string | null): OwnerKeyPair {
  try {
    return openOwnerKey(text, isSealed(text) ? passphrase : null);
  } catch (error) {
    if (!isMoatError(error, 'PASSPHRASE_WRONG') && !isMoatError(error, 'KEY_LOCKED')) throw error;
    throw new MoatError(error.code, `the passphrase does not open ${successorPath(path)}`, {
      cause: error,
      reason: 'a run before made this key with another passphrase, and some network may know it already',
      next: ['give the passphrase it was made with', `or, if no network knows it, delete ${successorPath(path)}`],
    });
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readPrivateFile(path);
  } catch (error) {
    if (isMoatError(error, 'KEY_FILE_MISSING')) return undefined;
    throw error;
  }
}
