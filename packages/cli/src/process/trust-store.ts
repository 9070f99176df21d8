/** The authorities that programs of this machine trust, as Debian and its kin keep them. */
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MoatError } from '@moat/core';

export interface TrustStoreDeps {
  /** Where local authorities are put. */
  readonly directory: string;
  readonly isRoot: boolean;
  /** Makes the store anew from its directories. */
  update(): Promise<void>;
  /** Whether there is such a store here. */
  exists(): Promise<boolean>;
}

/** That of this machine. */
export const systemTrustStore: TrustStoreDeps = {
  directory: '/usr/local/share/ca-certificates',
  isRoot: process.getuid?.() === 0,
  update: async () => void (await promisify(execFile)(UPDATE, [], { timeout: 60_000 })),
  exists: () =>
    access(UPDATE).then(
      () => true,
      () => false,
    ),
};

const UPDATE = '/usr/sbin/update-ca-certificates';

/**
 * Puts the authority into the store, or takes it out; returns its file there.
 * @param pem of the authority
 * @throws `TRUST_UNCHANGED` with the way to do it by hand
 */
export async function changeTrust(
  store: TrustStoreDeps,
  pem: string,
  { caFile, remove }: { readonly caFile: string; readonly remove: boolean },
): Promise<string> {
  const { directory, isRoot } = store;
  const authority = new X509Certificate(pem);
  const file = join(directory, `moat-${authority.fingerprint256.replaceAll(':', '').slice(0, 16).toLowerCase()}.crt`);
  if (!(await store.exists()))
    throw unchanged('this system has no update-ca-certificates', [`trust ${caFile} by hand`]);
  if (!isRoot) {
    const by = remove ? `sudo rm ${file}` : `sudo cp ${caFile} ${file}`;
    throw unchanged('only root may change what this machine trusts', [`${by} && sudo update-ca-certificates`]);
  }
  if (remove) await rm(file, { force: true });
  else {
    await mkdir(directory, { recursive: true });
    await writeFile(file, pem, { mode: 0o644 });
  }
  await store.update();
  return file;
}

function unchanged(reason: string, next: readonly string[]): MoatError<'TRUST_UNCHANGED'> {
  return new MoatError('TRUST_UNCHANGED', 'the authority of the gateway is trusted as before', { reason, next });
}
