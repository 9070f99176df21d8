/** `moat key rotate`: a new owner key in the place of the one at hand, in every network that it owns. */
import { keyOfPerson, rotateEntryKey } from '@moat/contract';
import { errorCode, isMoatError } from '@moat/core';
import { isSealed, openOwnerKey, type OwnerKeyPair } from '@moat/identity';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { findEntries } from '../deployment/find-people.ts';
import { isComplete, replaceEverywhere, replacedLines } from '../deployment/replace-owner.ts';
import { EXIT } from '../exit-codes.ts';
import { OWNER_OPTIONS, ownerKeyPath, readOwnerKeyFile, type OwnerOptions } from '../owner/open-owner.ts';
import { passphraseFromFile } from '../owner/passphrase.ts';
import { publicHalf } from '../owner/public-key.ts';
import { finishSuccession, installSuccessor, prepareSuccessor, successorPath } from '../owner/successor.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';
import { announceRotation } from './key-announce.ts';

interface RotateOptions extends OwnerOptions {
  readonly newPassphraseFile?: string;
}

export function addKeyRotate(key: Command, runner: VerbRunner): void {
  addVerb<RotateOptions>(
    key,
    runner,
    {
      usage: 'rotate',
      summary: 'a new owner key in the place of yours, in every network it owns; again finishes what was begun',
      examples: [
        ['moat key rotate', 'versions signed by the old and the new key; the old one decides nothing then'],
        ['moat key rotate --new-passphrase-file ./secret', 'sealed with another passphrase'],
      ],
      options: [
        ...OWNER_OPTIONS,
        { flags: '--new-passphrase-file <file>', text: 'of the new key; the one of the old key otherwise' },
      ],
    },
    rotate,
  );
}

async function rotate(context: Context, _: readonly string[], options: RotateOptions): Promise<Outcome> {
  const { agent, style } = context;
  const path = ownerKeyPath(context, options);
  if (await finishSuccession(path)) {
    const key = publicHalf(await readOwnerKeyFile(path));
    return {
      kind: 'key-rotated',
      data: { key, file: path, complete: true, networks: [], oldFile: null },
      text: `${style.ok} the rotation begun before is done: ${style.bold(key)} is your key`,
    };
  }
  const among = await agent.deployments();
  const { pair: old, passphrase } = await openWithPassphrase(context, path, options);
  const next = await prepareSuccessor(path, await newPassphrase(context, options, passphrase));
  const networks = await replaceEverywhere(context, {
    among,
    oldKey: ({ owners }) => (owners.keys.some(({ key }) => key === old.key) ? old.key : null),
    next,
    signers: [old],
  });
  const complete = isComplete(networks);
  const oldFile = complete ? await installSuccessor(path) : null;
  const handles = complete ? await carryHandles(context, old, next) : [];
  const lines = complete
    ? [
        `${style.ok} ${style.bold(next.key)} is your key now   ${path}`,
        ...replacedLines(context, networks),
        style.dim(`  The old one decides nothing any more in them; it is kept as ${oldFile ?? ''}`),
        ...(networks.length === 0 ? [style.dim('  No network of this machine had it as an owner’s.')] : []),
        ...handles.map((line) => `  ${line}`),
      ]
    : [
        `${style.attention} not everywhere yet: your key is still ${style.bold(old.key)}`,
        ...replacedLines(context, networks),
        `  ${style.dim('Next')}  moat key rotate   again, once the others have signed and failures are mended`,
        style.dim(`        until then ${successorPath(path)} has the new key: keep both files`),
      ];
  const failed = networks.some(({ state }) => state === 'failed');
  return {
    kind: 'key-rotated',
    data: { key: complete ? next.key : old.key, newKey: next.key, file: path, complete, networks, oldFile },
    ...(failed ? { exitCode: EXIT.failed } : {}),
    text: lines.join('\n'),
  };
}

/** A handle in the directory stays with its person: one line each about what became of it. */
async function carryHandles(context: Context, old: OwnerKeyPair, next: OwnerKeyPair): Promise<string[]> {
  const { style } = context;
  try {
    const found = await findEntries(context, { kind: 'person' });
    const own = found.flatMap(({ entry }) =>
      entry.kind === 'person' && keyOfPerson(entry) === old.key ? [entry] : [],
    );
    const lines: string[] = [];
    for (const entry of own) {
      const rotations = [...entry.rotations, rotateEntryKey(entry.root, old.signer, next.signer)];
      await announceRotation(context, { ...entry, rotations }, next);
      lines.push(`${style.ok} @${entry.handle} leads to the new key`);
    }
    return lines;
  } catch (error) {
    // Nobody who never announced a handle needs an anchor.
    if (isMoatError(error, 'NO_ANCHOR_KNOWN')) return [];
    return [`${style.attention} a handle in the directory was not carried over: ${errorCode(error)}`];
  }
}

/** The key of a file, and the passphrase that opened it; null where it is plain. */
async function openWithPassphrase(
  context: Context,
  path: string,
  options: OwnerOptions,
): Promise<{ readonly pair: OwnerKeyPair; readonly passphrase: string | null }> {
  const text = await readOwnerKeyFile(path);
  if (!isSealed(text)) return { pair: openOwnerKey(text, null), passphrase: null };
  const passphrase =
    (await passphraseFromFile(context, options.passphraseFile)) ??
    (await context.prompt.secret('Passphrase of the owner key', { flag: '--passphrase-file FILE' }));
  return { pair: openOwnerKey(text, passphrase), passphrase };
}

async function newPassphrase(
  context: Context,
  { newPassphraseFile }: RotateOptions,
  before: string | null,
): Promise<string | null> {
  return (await passphraseFromFile(context, newPassphraseFile)) ?? before;
}
