/** Owners written as `@ben`: looked up in the directory once, when they first appear; from then on the contract has the key. */
import { MoatError, type OwnerKey } from '@moat/core';
import type { Contract } from '../schema.ts';
import type { DeploymentFile } from './file.ts';

/** Handles, without the `@`, of owners that the current version does not have under their name. */
export function handlesToResolve(file: DeploymentFile, current: Contract | null): readonly string[] {
  const known = new Set(current?.owners.keys.map(({ name }) => name));
  const handles = (file.owners.keys ?? []).flatMap(({ name, key }) => handleOf(key, known.has(name)));
  return [...new Set(handles)];
}

/**
 * The file with a key in the place of each handle: the current version's of that name, else the one looked up.
 * @param keys by handle.
 * @throws `OWNER_UNRESOLVED`
 */
export function withOwnerKeys(
  file: DeploymentFile,
  keys: ReadonlyMap<string, OwnerKey>,
  current: Contract | null,
): DeploymentFile {
  const written = file.owners.keys;
  if (written === undefined || !written.some(({ key }) => key.startsWith('@'))) return file;
  const owners = written.map((owner) => {
    if (!owner.key.startsWith('@')) return owner;
    const held = current?.owners.keys.find(({ name }) => name === owner.name)?.key;
    const key = held ?? keys.get(owner.key.slice(1));
    if (key === undefined) throw new MoatError('OWNER_UNRESOLVED', `${owner.key} has not been looked up`);
    return { ...owner, key };
  });
  return { ...file, owners: { ...file.owners, keys: owners } };
}

function handleOf(key: string, isKnown: boolean): string[] {
  return key.startsWith('@') && !isKnown ? [key.slice(1)] : [];
}
