/** Owners written as `@ben` become keys that whoever signs has compared. */
import { handlesToResolve, keyOfPerson, parseSignedEntry, verifyEntry, withOwnerKeys } from '@moat/contract';
import type { Contract, PersonEntry, SignedEntry } from '@moat/contract';
import { MoatError, type OwnerKey } from '@moat/core';
import { fingerprintWords } from '@moat/identity';
import type { FindRequest } from '@moat/admin-api';
import type { Context } from '../context.ts';
import type { ReadDeploymentFile } from './deployment-file.ts';

/** What the directory says, verified here too: the agent could have been asked by anybody. */
export async function findEntries(context: Context, request: FindRequest): Promise<readonly SignedEntry[]> {
  const { agent, io, progress } = context;
  const { entries, asked } = await progress.during('asking anchors', agent.findInDirectory(request));
  if (asked.length > 0 && asked.every(({ error }) => error !== null)) {
    throw new MoatError('NO_ANCHOR_REACHABLE', `no anchor answered: ${asked[0]?.error?.message ?? ''}`, {
      retryable: true,
    });
  }
  return entries.flatMap((entry) => {
    const signed = parseSignedEntry(entry);
    verifyEntry(signed, io.now());
    return [signed];
  });
}

/** Everybody of one handle. */
export async function findPeople(context: Context, handle: string): Promise<readonly PersonEntry[]> {
  const entries = await findEntries(context, { kind: 'person', handle });
  return entries.flatMap(({ entry }) => (entry.kind === 'person' && entry.handle === handle ? [entry] : []));
}

/**
 * The file with keys in the place of handles that the current version does not know yet, once whoever runs the command
 * has compared their words with the people themselves.
 * @throws `OWNER_UNRESOLVED`, `CONFIRMATION_NEEDED` without a terminal and `--yes`, `DECLINED`, as `findEntries`
 */
export async function resolvePeople(
  context: Context,
  read: ReadDeploymentFile,
  current: Contract | null,
): Promise<ReadDeploymentFile> {
  const keys = new Map<string, OwnerKey>();
  for (const handle of handlesToResolve(read.file, current)) keys.set(handle, await onlyKeyOf(context, handle));
  if (keys.size > 0) {
    const facts = [...keys].flatMap(([handle, key]) => [`@${handle}  ${key}`, `  ${fingerprintWords(key)}`]);
    await context.prompt.confirm('Are these the words they read to you (moat key show --words)?', facts);
  }
  return { ...read, file: withOwnerKeys(read.file, keys, current) };
}

async function onlyKeyOf(context: Context, handle: string): Promise<OwnerKey> {
  const found = await findPeople(context, handle);
  const [person, ...others] = found;
  if (person !== undefined && others.length === 0) return keyOfPerson(person);
  const lines = found.map((each) => `${keyOfPerson(each)}  ${fingerprintWords(keyOfPerson(each))}`);
  throw new MoatError(
    'OWNER_UNRESOLVED',
    person === undefined ? `nobody is called @${handle}` : [`several are called @${handle}:`, ...lines].join('\n'),
    {
      reason: 'a handle is not unique: anybody may call himself so, and nothing is taken that leaves a doubt',
      next: ['write the key itself into owners:, as their moat key show prints it', 'moat explore people'],
    },
  );
}
