/** `moat key announce`: a handle by which others find your key. */
import {
  ENTRY_LIFE_MS,
  formatTime,
  keyOfPerson,
  signPersonEntry,
  type KeyRotation,
  type SignedEntry,
} from '@moat/contract';
import { MoatError, isLabel, type OwnerKey } from '@moat/core';
import { fingerprintWords, type OwnerKeyPair } from '@moat/identity';
import type { Announced, ToldAnchor } from '@moat/admin-api';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { findPeople } from '../deployment/find-people.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface AnnounceOptions extends OwnerOptions {
  readonly contact?: string;
  readonly bot?: boolean;
}

/** Below the longest life, so that clocks may differ. */
const LIFE_MS = ENTRY_LIFE_MS.person - 86_400_000;

export function addKeyAnnounce(key: Command, runner: VerbRunner): void {
  addVerb<AnnounceOptions>(
    key,
    runner,
    {
      usage: 'announce <handle>',
      summary: 'puts your key into the public directory under a handle, for a year',
      examples: [
        ['moat key announce ben', 'others may write owners: { keys: { ben: "@ben" } }'],
        ['moat key announce ben --contact ben@example.com', 'and learn how to reach you'],
      ],
      options: [
        { flags: '--contact <text>', text: 'how to reach you: an address, a page' },
        { flags: '--bot', text: 'nobody sits behind this key' },
        ...OWNER_OPTIONS,
      ],
    },
    announce,
  );
}

async function announce(
  context: Context,
  [handle = '']: readonly string[],
  options: AnnounceOptions,
): Promise<Outcome> {
  if (!isLabel(handle)) {
    throw new MoatError('USAGE', `"${handle}" is no handle`, {
      next: ['1–63 of a–z, 0–9 and inner hyphens, as ben or ana-maria'],
    });
  }
  const { style } = context;
  const owner = await openOwner(context, options);
  const people = await findPeople(context, handle);
  const own = people.find((person) => keyOfPerson(person) === owner.key);
  const signed = entryOf(
    context,
    owner,
    { handle, root: own?.root ?? owner.key, rotations: own?.rotations ?? [] },
    options,
  );
  const { told } = await announceEntry(context, signed);
  const others = people.filter((person) => keyOfPerson(person) !== owner.key).length;
  const lines = [
    `${style.ok} @${style.bold(handle)} leads to ${owner.key}`,
    `  ${fingerprintWords(owner.key)}   the words others see: read them to whoever makes you an owner`,
    ...told.map(({ anchor, error }) => `  ${error === null ? style.ok : style.attention} ${anchor}${saidBy(error)}`),
    ...(others === 0 ? [] : [`${style.attention} ${others} more with this handle: whoever looks it up is told of all`]),
  ];
  return { kind: 'announced', data: { handle, key: owner.key, told, others }, text: lines.join('\n') };
}

/** The handle of a key that was replaced goes over to the next one. */
export async function announceRotation(
  context: Context,
  { handle, root, rotations, contact, bot }: SuccessorEntry,
  next: OwnerKeyPair,
): Promise<Announced> {
  const options = { ...(contact === undefined ? {} : { contact }), ...(bot === undefined ? {} : { bot }) };
  return announceEntry(context, entryOf(context, next, { handle, root, rotations }, options));
}

export interface SuccessorEntry {
  readonly handle: string;
  readonly root: OwnerKey;
  readonly rotations: readonly KeyRotation[];
  readonly contact?: string | undefined;
  readonly bot?: true | undefined;
}

function entryOf(
  { io }: Context,
  owner: OwnerKeyPair,
  fields: Pick<SuccessorEntry, 'handle' | 'root' | 'rotations'>,
  { contact, bot }: Pick<AnnounceOptions, 'bot' | 'contact'>,
): SignedEntry {
  const now = io.now();
  return signPersonEntry(
    {
      ...fields,
      number: now,
      expires: formatTime(now + LIFE_MS),
      ...(contact === undefined ? {} : { contact }),
      ...(bot === true ? { bot } : {}),
    },
    owner.signer,
  );
}

async function announceEntry({ agent, progress }: Context, signed: SignedEntry): Promise<Announced> {
  const announced = await progress.during('telling anchors', agent.announce({ ...signed }));
  const failed = announced.told.find(({ error }) => error !== null)?.error;
  if (failed && announced.told.every(({ error }) => error !== null)) throw new MoatError(failed.code, failed.message);
  return announced;
}

function saidBy(error: ToldAnchor['error']): string {
  return error === null ? '' : `  ${error.message}`;
}
