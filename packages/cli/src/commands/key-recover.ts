/** `moat key recover`: a lost owner key replaced by the power of the recovery words. */
import type { DeploymentSummary } from '@moat/admin-api';
import { parseContract, type Contract } from '@moat/contract';
import { isMoatError, MoatError, type OwnerKey } from '@moat/core';
import { ownerKeyFromSeed, seedOfWords, type OwnerKeyPair } from '@moat/identity';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { isComplete, replaceEverywhere, replacedLines } from '../deployment/replace-owner.ts';
import { NETWORK_OPTION } from '../deployment/select.ts';
import { EXIT } from '../exit-codes.ts';
import { readFileOrStdin } from '../input/files.ts';
import { closeSession, openSession } from '../owner/as-owner.ts';
import { choosePassphrase } from '../owner/choose-passphrase.ts';
import { OWNER_OPTIONS, openOwner, ownerKeyPath, type OwnerOptions } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { finishSuccession, installSuccessor, prepareSuccessor } from '../owner/successor.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface RecoverOptions extends OwnerOptions {
  readonly network?: string;
  readonly words?: string;
  readonly owner?: string;
  readonly locator?: string;
  readonly plain?: boolean;
}

export function addKeyRecover(key: Command, runner: VerbRunner): void {
  addVerb<RecoverOptions>(
    key,
    runner,
    {
      usage: 'recover',
      summary: 'a new owner key in the place of a lost one, by the 24 words of moat init',
      examples: [
        ['moat key recover', 'asks for the words, and for a passphrase of the new key'],
        ['moat key recover --words - < words.txt', 'without a terminal; words never stand on a command line'],
        ['moat key recover --locator shop.txt', 'on a machine that is in no network yet'],
      ],
      options: [
        { flags: '--words <file>', text: 'the 24 words; - is stdin; otherwise asked for' },
        { flags: '--owner <name>', text: 'whose key is lost, where there are several' },
        { flags: '--locator <file>', text: 'the way to a network this machine is not in: moat invite --locator' },
        { flags: '--plain', text: 'the new key gets no passphrase' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    recover,
  );
}

async function recover(context: Context, _: readonly string[], options: RecoverOptions): Promise<Outcome> {
  const { style } = context;
  const recovery = await readRecoveryKey(context, options);
  if (options.locator !== undefined) {
    const locator = (await readFileOrStdin(context.io, options.locator)).trim();
    // The network is held here from now on.
    await closeSession(context, await openSession(context, recovery, { locator }));
  }
  const owned = await ownedBy(context, recovery.key, options.network);
  const path = ownerKeyPath(context, options);
  await finishSuccession(path);
  const chosen = await chooseKey(context, path, owned, options);
  const networks = await replaceEverywhere(context, {
    among: owned.map(({ summary }) => summary),
    oldKey: (contract) => lostKey(contract, recovery.key, chosen, options.owner),
    next: chosen.pair,
    signers: [recovery],
  });
  const complete = isComplete(networks);
  if (complete && chosen.waits) await installSuccessor(path);
  const { key } = chosen.pair;
  return {
    kind: 'key-recovered',
    data: { key, file: path, complete, networks },
    ...(complete ? {} : { exitCode: EXIT.failed }),
    text: [
      `${complete ? style.ok : style.attention} ${style.bold(key)} ${complete ? 'is your key now' : 'is not everywhere yet'}   ${path}`,
      ...replacedLines(context, networks),
      ...(complete
        ? [style.dim('  The words work as before: keep them.')]
        : [`  ${style.dim('Next')}  moat key recover   again, once the failures are mended`]),
    ].join('\n'),
  };
}

/** @throws `RECOVERY_WORDS_INVALID`, `CONFIRMATION_NEEDED` */
async function readRecoveryKey(context: Context, { words }: RecoverOptions): Promise<OwnerKeyPair> {
  if (words !== undefined && words.trim().split(/\s+/).length > 2) throw wordsOnCommandLine();
  const text =
    words === undefined
      ? await context.prompt.secret('The 24 recovery words', { flag: '--words FILE' })
      : await readFileOrStdin(context.io, words);
  const seed = seedOfWords(text);
  try {
    return ownerKeyFromSeed(seed);
  } finally {
    seed.fill(0);
  }
}

/** Does not repeat them. */
function wordsOnCommandLine(): MoatError {
  return new MoatError('USAGE', 'recovery words stand on the command line', {
    reason: 'every user of this machine can read them there, and the shell keeps them; who has them owns the network',
    next: [
      'moat key recover                         asks for them',
      'moat key recover --words - < words.txt   from stdin',
    ],
  });
}

interface Owned {
  readonly summary: DeploymentSummary;
  readonly contract: Contract;
}

/** Networks in which the words have a say. @throws `OWNER_KEY_FOREIGN` when there is none. */
async function ownedBy({ agent }: Context, key: OwnerKey, wanted: string | undefined): Promise<readonly Owned[]> {
  const all = await agent.deployments();
  const owned: Owned[] = [];
  for (const summary of all) {
    if (summary.state === 'ended' || (wanted !== undefined && ![summary.id, summary.name].includes(wanted))) continue;
    const contract = parseContract((await agent.deployment(summary.id)).contract);
    if (contract.owners.keys.some((owner) => owner.key === key)) owned.push({ summary, contract });
  }
  if (owned.length > 0) return owned;
  throw new MoatError('OWNER_KEY_FOREIGN', 'the words are no owner’s of any network of this machine', {
    reason: `they stand for ${key}`,
    next: ['moat key recover --locator FILE   with the output of moat invite --locator of a member'],
  });
}

/** The key that is to take the lost one's place. */
interface ChosenKey {
  readonly pair: OwnerKeyPair;
  /** It waits beside the key file until it is in force: that file holds a key of the network still. */
  readonly waits: boolean;
  /** The public half in the key file, where that is to be replaced. */
  readonly inFile: OwnerKey | null;
}

/** A key file that no network knows yet is used; one that is lost (its passphrase, say) is replaced; else a new one is made. */
async function chooseKey(
  context: Context,
  path: string,
  owned: readonly Owned[],
  options: RecoverOptions,
): Promise<ChosenKey> {
  try {
    const inFile = await readOwnerPublicKey(context, options);
    const isKnown = owned.some(({ contract }) => contract.owners.keys.some(({ key }) => key === inFile));
    if (!isKnown) return { pair: await openOwner(context, options), waits: false, inFile: null };
    const pair = await prepareSuccessor(path, await choosePassphrase(context, options));
    return { pair, waits: true, inFile };
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
  }
  const pair = await prepareSuccessor(path, await choosePassphrase(context, options));
  return { pair, waits: true, inFile: null };
}

/** Null when the new key is there already. @throws `OWNER_UNKNOWN`, `USAGE` where it is not clear whose is lost. */
function lostKey(
  { owners, name }: Contract,
  recovery: OwnerKey,
  { pair, inFile }: ChosenKey,
  wanted: string | undefined,
): OwnerKey | null {
  if (owners.keys.some(({ key }) => key === pair.key)) return null;
  const others = owners.keys.filter(({ key }) => key !== recovery);
  const [only] = others;
  if (wanted !== undefined) {
    const named = others.find((owner) => owner.name === wanted);
    if (named !== undefined) return named.key;
    throw new MoatError('OWNER_UNKNOWN', `${name} has no other owner ${wanted}`, {
      next: others.map((owner) => `--owner ${owner.name}`),
    });
  }
  const own = others.find(({ key }) => key === inFile);
  if (own !== undefined) return own.key;
  if (only !== undefined && others.length === 1) return only.key;
  throw new MoatError('USAGE', `say whose key of ${name} is lost`, {
    next: others.map((owner) => `--owner ${owner.name}`),
  });
}
