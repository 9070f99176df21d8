/**
 * Everything that a gateway needs to be the same elsewhere, copied while it runs into a directory of its own: the database as of one moment, and
 * every key file. Whoever asked packs it and removes it.
 */
import { copyFile, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { basename, join } from 'node:path';
import type { GatewayConfig } from '../config.ts';
import type { GatewayStore } from '../store/store.ts';

/** The database in a backup, wherever it lies outside of one. */
export const DATABASE = 'gateway.db';
/** No key and no list is as large. */
const MAX_FILE_BYTES = 1024 * 1024;
const PREFIX = 'backup-';

export interface Snapshot {
  /** 0700, in the state directory. */
  readonly directory: string;
  readonly files: readonly string[];
}

/** @throws `DISK_FULL`, `STORE_FAILED` */
export async function takeSnapshot(
  { stateDirectory, storePath }: Pick<GatewayConfig, 'stateDirectory' | 'storePath'>,
  store: Pick<GatewayStore, 'backup'>,
): Promise<Snapshot> {
  const directory = join(stateDirectory, `${PREFIX}${randomBytes(8).toString('hex')}`);
  await dropSnapshots(stateDirectory);
  await mkdir(directory, { mode: 0o700 });
  try {
    await store.backup(join(directory, DATABASE));
    const files = [DATABASE];
    for (const name of await readdir(stateDirectory)) {
      if (name.startsWith('.') || name.startsWith(basename(storePath)) || name === DATABASE) continue;
      const found = await stat(join(stateDirectory, name));
      if (!found.isFile() || found.size > MAX_FILE_BYTES) continue;
      await copyFile(join(stateDirectory, name), join(directory, name));
      files.push(name);
    }
    return { directory, files };
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

/** What somebody asked for and did not fetch. */
export async function dropSnapshots(stateDirectory: string): Promise<void> {
  for (const name of await readdir(stateDirectory)) {
    if (/^backup-[0-9a-f]{16}$/.test(name)) await rm(join(stateDirectory, name), { recursive: true, force: true });
  }
}
