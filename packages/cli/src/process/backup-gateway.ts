/** Backups of the gateway of this machine. A file of its own: loading it loads the whole gateway. */
import { existsSync } from 'node:fs';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MoatError } from '@moat/core';
import { isSealedBackup, packBackup, parseGatewayConfig, restoreBackup, type Restored } from '@moat/gateway';
import type { Context } from '../context.ts';
import { readTextFile, resolvePath } from '../input/files.ts';
import { passphraseFromFile } from '../owner/passphrase.ts';

/** A large database takes its time. */
const SNAPSHOT_MS = 600_000;

export interface BackupOptions {
  readonly config: string;
  readonly passphraseFile?: string;
  readonly plain?: boolean;
}

/** @throws `FILE_EXISTS`, `AGENT_NOT_RUNNING`, `CONFIRMATION_NEEDED` */
export async function backUpGateway(
  context: Context,
  file: string,
  options: BackupOptions,
): Promise<{ readonly bytes: number; readonly files: readonly string[]; readonly sealed: boolean }> {
  const { gateway, io } = context;
  const target = resolvePath(io, file);
  if (existsSync(target)) throw new MoatError('FILE_EXISTS', `${file} is there already`);
  const passphrase = await choosePassphrase(context, options);
  const { directory, files, ...facts } = await gateway.backup({ timeoutMs: SNAPSHOT_MS });
  try {
    const names = [...files];
    const config = resolvePath(io, options.config);
    if (existsSync(config) && !names.includes('gateway.yaml')) {
      await copyFile(config, join(directory, 'gateway.yaml'));
      names.push('gateway.yaml');
    }
    const created = new Date(io.now()).toISOString();
    const { bytes } = await packBackup(directory, names, { ...facts, created }, { target, passphrase });
    return { bytes, files: names, sealed: passphrase !== null };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** @throws `STATE_LOCKED`, `STATE_EXISTS`, `BACKUP_INVALID`, `PASSPHRASE_WRONG`, `KEY_LOCKED`, `GATEWAY_CONFIG_INVALID` */
export async function restoreGateway(
  context: Context,
  file: string,
  options: { readonly config: string; readonly passphraseFile?: string; readonly replace?: boolean },
): Promise<Restored> {
  const { io, prompt } = context;
  const archive = resolvePath(io, file);
  if (!existsSync(archive)) throw new MoatError('FILE_MISSING', `there is no ${file}`);
  const text = await readTextFile(io, options.config, [
    'the backup holds the gateway.yaml of then; name yours with --config FILE',
  ]);
  const config = parseGatewayConfig(text, resolvePath(io, options.config), io.env);
  let passphrase = (await passphraseFromFile(context, options.passphraseFile)) ?? null;
  if (passphrase === null && (await isSealedBackup(archive))) {
    passphrase = await prompt.secret('Passphrase of the backup', { flag: '--passphrase-file FILE' });
  }
  const { replace = false } = options;
  return restoreBackup(config, { archive, passphrase, replace, nowMs: io.now() });
}

/** A backup in the clear only where that was said. */
async function choosePassphrase(context: Context, options: BackupOptions): Promise<string | null> {
  if (options.plain === true) return null;
  const fromFile = await passphraseFromFile(context, options.passphraseFile);
  if (fromFile !== undefined) return fromFile;
  const flag = '--passphrase-file FILE, or --plain';
  const { progress, prompt } = context;
  for (;;) {
    const first = await prompt.secret('Passphrase for the backup', { flag });
    if (first !== '' && (await prompt.secret('The same again', { flag })) === first) return first;
    progress.say('  They differ, or it is empty; once more.');
  }
}
