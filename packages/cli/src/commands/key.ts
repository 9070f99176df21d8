/** `moat key`: the owner's key, sealed with a passphrase. */
import {
  createOwnerKey,
  fingerprintWords,
  isSealed,
  sealOwnerKey,
  writePrivateFile,
  type OwnerKeyPair,
} from '@moat/identity';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { ownerKeyPath, readOwnerKeyFile } from '../owner/open-owner.ts';
import { publicHalf } from '../owner/public-key.ts';
import { choosePassphrase } from '../owner/choose-passphrase.ts';
import { PASSPHRASE_OPTION } from '../owner/passphrase.ts';
import { addKeyAnnounce } from './key-announce.ts';
import { addKeyRecover } from './key-recover.ts';
import { addKeyRotate } from './key-rotate.ts';
import { addGroup, addVerb, type VerbOption, type VerbRunner } from '../verb.ts';

interface KeyNewOptions {
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly plain?: boolean;
}

const KEY_OPTION: VerbOption = { flags: '--key <file>', text: 'where the key is kept', env: 'MOAT_OWNER_KEY_FILE' };

export function addKey(program: Command, runner: VerbRunner): void {
  const key = addGroup(program, 'key', "an owner's key", 'Deploy');
  addVerb<KeyNewOptions>(
    key,
    runner,
    {
      usage: 'new',
      summary: 'makes an owner key: who holds it signs for the deployments it owns',
      examples: [
        ['moat key new', 'asks for a passphrase; empty = a plain file'],
        ['moat key new --passphrase-file ./secret', 'sealed, without a question'],
        ['moat key new --plain', 'a plain 0600 file, for bots and trying out'],
      ],
      options: [KEY_OPTION, PASSPHRASE_OPTION, { flags: '--plain', text: 'no passphrase' }],
    },
    async (context, _, options) => {
      const path = ownerKeyPath(context, options);
      const pair = createOwnerKey();
      const sealed = await writeOwnerKey(context, path, pair, options);
      const { style } = context;
      const note = sealed
        ? 'sealed with your passphrase; without it the key is lost'
        : `${style.attention} plain: whoever can read this file is the owner`;
      return {
        kind: 'owner-key',
        data: { key: pair.key, file: path, sealed },
        text: `${style.ok} ${style.bold(pair.key)}\n  ${path}  ${note}`,
      };
    },
  );
  addVerb<{ readonly key?: string; readonly words?: boolean }>(
    key,
    runner,
    {
      usage: 'show',
      summary: 'the public half, to put into somebody’s moat.yaml; needs no passphrase',
      examples: [
        ['moat key show', 'prints ed25519:…'],
        ['moat key show --words', 'the same key as six words, to read to somebody'],
      ],
      options: [KEY_OPTION, { flags: '--words', text: 'as words, to compare by voice' }],
    },
    async (context, _, options) => {
      const path = ownerKeyPath(context, options);
      const text = await readOwnerKeyFile(path);
      const sealed = isSealed(text);
      const publicKey = publicHalf(text);
      const words = fingerprintWords(publicKey);
      return {
        kind: 'owner-key',
        data: { key: publicKey, words, file: path, sealed },
        text: options.words === true ? words : publicKey,
      };
    },
  );
  addKeyAnnounce(key, runner);
  addKeyRotate(key, runner);
  addKeyRecover(key, runner);
}

/** Seals with the passphrase of a file or a question; plain when asked for, or when nobody can be asked. */
export async function writeOwnerKey(
  context: Context,
  path: string,
  pair: OwnerKeyPair,
  options: { readonly passphraseFile?: string; readonly plain?: boolean },
): Promise<boolean> {
  const passphrase = await choosePassphrase(context, options);
  await writePrivateFile(path, sealOwnerKey(pair, passphrase), { replace: false });
  return passphrase !== null;
}
