/** Puts a backup in the place of a gateway's state; the gateway must not run. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { refuseSecond } from '../admin/api.ts';
import { loadOrCreateAuditKey } from '../audit/audit-key.ts';
import type { GatewayConfig } from '../config.ts';
import { refusal } from '../errors.ts';
import { openSqliteStore } from '../store/sqlite.ts';
import { unpackBackup, type BackupFacts } from './archive.ts';
import { DATABASE } from './snapshot.ts';

export interface RestoreOptions {
  readonly archive: string;
  readonly passphrase: string | null;
  /** Put what is there aside, under another name. */
  readonly replace: boolean;
  /** Milliseconds since the epoch, for names and the audit log. */
  readonly nowMs: number;
}

export interface Restored extends BackupFacts {
  readonly files: readonly string[];
  readonly names: number;
  readonly auditLines: number;
  /** Where the former state lies now. */
  readonly aside: string | null;
}

/**
 * Everything is checked beside the place before the place is touched.
 * @throws `STATE_LOCKED`, `STATE_EXISTS`, `BACKUP_INVALID`, `KEY_LOCKED`, `PASSPHRASE_WRONG`
 */
export async function restoreBackup(
  config: Pick<GatewayConfig, 'adminSocket' | 'stateDirectory' | 'storePath' | 'domain'>,
  options: RestoreOptions,
): Promise<Restored> {
  const { adminSocket, stateDirectory, storePath, domain } = config;
  const { archive, passphrase, replace, nowMs } = options;
  await refuseSecond(adminSocket);
  const isThere = existsSync(storePath) || (existsSync(stateDirectory) && (await readdir(stateDirectory)).length > 0);
  if (isThere && !replace) {
    throw refusal('STATE_EXISTS', `${stateDirectory} holds the state of a gateway`, { details: { stateDirectory } });
  }
  const fresh = `${stateDirectory}.restoring-${randomBytes(6).toString('hex')}`;
  await mkdir(dirname(stateDirectory), { recursive: true, mode: 0o700 });
  try {
    const unpacked = await unpackBackup(archive, fresh, passphrase);
    if (unpacked.domain !== domain) {
      throw refusal('BACKUP_INVALID', `this backup is of ${unpacked.domain}, and gateway.yaml says ${domain}`);
    }
    const checked = await checkDatabase(fresh, unpacked, nowMs);
    const aside = isThere ? await putAside(config, nowMs) : null;
    if (resolve(storePath) !== resolve(stateDirectory, DATABASE)) await moveFile(join(fresh, DATABASE), storePath);
    await rm(stateDirectory, { recursive: true, force: true });
    await rename(fresh, stateDirectory);
    return { ...unpacked, ...checked, aside };
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
}

/** The database opens, its log is whole; then the log says that it was restored. */
async function checkDatabase(
  directory: string,
  { created, peer, files }: BackupFacts & { readonly files: readonly string[] },
  nowMs: number,
): Promise<{ readonly names: number; readonly auditLines: number }> {
  for (const needed of [DATABASE, 'gateway.key', 'box.key', 'audit.key']) {
    if (!files.includes(needed)) throw refusal('BACKUP_INVALID', `this backup has no ${needed}`);
  }
  const key = await loadOrCreateAuditKey(join(directory, 'audit.key'));
  const store = openSqliteStore(join(directory, DATABASE), { audit: { key, now: () => nowMs } });
  try {
    const { problems } = await store.audit.check();
    const [problem] = problems;
    if (problem) throw refusal('BACKUP_INVALID', `its audit log is not whole: line ${problem.seq}: ${problem.message}`);
    store.commit({ audit: [{ action: 'gateway.restored', actor: 'operator', details: { created, peer } }] });
    return { names: store.names().length, auditLines: store.audit.lines };
  } finally {
    store.close();
  }
}

async function putAside(
  { stateDirectory, storePath }: Pick<GatewayConfig, 'stateDirectory' | 'storePath'>,
  nowMs: number,
): Promise<string> {
  const aside = `${stateDirectory}.before-${new Date(nowMs).toISOString().replaceAll(/[:.]/g, '-')}`;
  if (existsSync(stateDirectory)) await rename(stateDirectory, aside);
  else await mkdir(aside, { mode: 0o700 });
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(storePath + suffix)) await moveFile(storePath + suffix, join(aside, DATABASE + suffix));
  }
  return aside;
}

/** Also between two disks; the old file goes when the new one is safe. */
async function moveFile(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 });
  await copyFile(from, to);
  {
    await using file = await open(to, 'r+');
    await file.chmod(0o600);
    await file.sync();
  }
  await rm(from);
}
