/** Who owns dev's deployment: an owner key without a passphrase and a genesis, made once. */
import { createGenesis, parseGenesis, type Genesis } from '@moat/contract';
import { isMoatError } from '@moat/core';
import {
  createOwnerKey,
  openOwnerKey,
  readPrivateFile,
  sealOwnerKey,
  writePrivateFile,
  type OwnerKeyPair,
} from '@moat/identity';
import { randomBytes } from 'node:crypto';
import type { DevLayout } from './layout.ts';

export interface DevIdentity {
  readonly owner: OwnerKeyPair;
  readonly genesis: Genesis;
}

export async function loadOrCreateIdentity(layout: DevLayout): Promise<DevIdentity> {
  const owner = await loadOrCreateOwner(layout.web.ownerKey);
  try {
    return { owner, genesis: parseGenesis(JSON.parse(await readPrivateFile(layout.genesisFile))) };
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
    const owners = { threshold: 1, keys: [{ key: owner.key, weight: 1 }] };
    const genesis = createGenesis(owners, randomBytes(16));
    await writePrivateFile(layout.genesisFile, JSON.stringify(genesis));
    return { owner, genesis };
  }
}

async function loadOrCreateOwner(path: string): Promise<OwnerKeyPair> {
  try {
    return openOwnerKey(await readPrivateFile(path), null);
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
    const pair = createOwnerKey();
    await writePrivateFile(path, sealOwnerKey(pair, null), { replace: false });
    return pair;
  }
}
