/** `moat init`: a first deployment file, with this machine as first member and keeper. */
import { formatDeploymentFile } from '@moat/contract';
import { isLabel, isMoatError, MoatError } from '@moat/core';
import { createOwnerKey, loadOrCreateNodeKey } from '@moat/identity';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Context } from '../context.ts';
import { ownerName } from '../deployment/next-version.ts';
import { resolvePath, writeNewFile } from '../input/files.ts';
import { ownerKeyPath, type OwnerOptions } from '../owner/open-owner.ts';
import { OWNER_OPTIONS } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { addVerb, type VerbRunner } from '../verb.ts';
import { offerRecovery, recoveryLines, RECOVERY_NAME } from './init-recovery.ts';
import { writeOwnerKey } from './key.ts';

interface InitOptions extends OwnerOptions {
  readonly file: string;
  readonly member?: string;
  readonly anchor: readonly string[];
  readonly plain?: boolean;
  readonly recovery?: boolean;
  readonly yes?: boolean;
}

export function addInit(program: Command, runner: VerbRunner): void {
  addVerb<InitOptions>(
    program,
    runner,
    {
      usage: 'init [name]',
      summary: 'writes moat.yaml with this machine as first member and keeper',
      group: 'Deploy',
      examples: [
        ['moat init', 'asks for what it needs; makes an owner key if there is none'],
        ['moat init shop --member web-1 --yes', 'without questions'],
        ['moat init shop --anchor gw.example.com', 'members meet there when no LAN joins them'],
      ],
      options: [
        { flags: '-f, --file <file>', text: 'where to write', preset: 'moat.yaml' },
        { flags: '--member <name>', text: 'what this machine is called in the network' },
        { flags: '--anchor <host>', text: 'where members meet; repeatable', list: true },
        { flags: '--plain', text: 'a new owner key gets no passphrase' },
        { flags: '--recovery', text: 'a recovery key: 24 words, shown once, kept nowhere' },
        { flags: '--no-recovery', text: 'without one, and without the question' },
        { flags: '-y, --yes', text: 'take the suggested names' },
        ...OWNER_OPTIONS,
      ],
    },
    async (context, [wanted], options) => {
      const { io, style, prompt } = context;
      if (existsSync(resolvePath(io, options.file))) {
        throw new MoatError('FILE_EXISTS', `${options.file} is there already`, {
          next: ['moat plan        shows what it would change', 'moat init --file OTHER.yaml'],
        });
      }
      const name = label(
        wanted ?? (await ask(context, 'Name of the network', toLabel(basename(io.cwd), 'home'), 'a NAME')),
      );
      const suggested = toLabel(hostname().split('.')[0] ?? '', 'node-1');
      const member = label(
        options.member ?? (await ask(context, 'Name of this machine in the network', suggested, '--member NAME')),
      );
      const anchors = await chooseAnchors(context, options);
      const recovery = await offerRecovery(context, options.recovery);
      const key = await ensureOwnerKey(context, options);
      const peerId = await ownPeerId(context);
      await writeNewFile(
        io,
        options.file,
        formatDeploymentFile(
          renderFile({ name, member, anchors, peerId, owner: key.publicKey, recovery: recovery?.key }),
        ),
      );
      const lines = [
        `${style.ok} ${options.file}  network ${style.bold(name)}, this machine is ${style.bold(member)}`,
        `${style.ok} owner key ${key.publicKey}${key.isNew ? `  new, ${key.path}` : ''}`,
        ...(key.isNew && !key.sealed
          ? [`${style.attention} the key is plain: whoever can read its file is the owner`]
          : []),
        ...recoveryLines(context, recovery, options.recovery),
        ...(anchors.length === 0 ? [`${style.attention} no anchor: members find each other on one LAN only`] : []),
        `  ${style.dim('Next')}  moat node run        if the agent does not run yet`,
        `        moat apply           creates the network`,
        `        moat invite MEMBER   for each further machine`,
      ];
      return {
        kind: 'init',
        data: {
          file: options.file,
          name,
          member,
          peerId,
          ownerKey: key.publicKey,
          interactive: prompt.interactive,
          recovery: recovery === undefined ? null : { key: recovery.key, words: recovery.unread },
        },
        text: lines.join('\n'),
      };
    },
  );
}

async function ask({ prompt }: Context, question: string, initial: string, flag: string): Promise<string> {
  return prompt.text(question, { initial, flag: `${flag}, or --yes for ${initial}` });
}

async function chooseAnchors({ prompt }: Context, options: InitOptions): Promise<readonly string[]> {
  if (options.anchor.length > 0 || options.yes === true || !prompt.interactive) return options.anchor;
  const answer = await prompt.text('Anchor where members meet (a host, or empty for one LAN)', {
    initial: '',
    flag: '--anchor',
  });
  return answer.trim() === '' ? [] : [answer.trim()];
}

interface InitialKey {
  readonly publicKey: string;
  readonly isNew: boolean;
  /** Of a new one. */
  readonly sealed: boolean;
  readonly path: string;
}

async function ensureOwnerKey(context: Context, options: InitOptions): Promise<InitialKey> {
  const path = ownerKeyPath(context, options);
  try {
    return { publicKey: await readOwnerPublicKey(context, options), isNew: false, sealed: false, path };
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
    const pair = createOwnerKey();
    const sealed = await writeOwnerKey(context, path, pair, options);
    return { publicKey: pair.key, isNew: true, sealed, path };
  }
}

/** The running agent knows; else its key file does, made now if need be. */
async function ownPeerId({ agent, paths }: Context): Promise<string> {
  try {
    return (await agent.status({ timeoutMs: 2000 })).peerId;
  } catch (error) {
    if (!isMoatError(error, 'AGENT_NOT_RUNNING')) throw error;
    return (await loadOrCreateNodeKey(paths.nodeKey)).peerId;
  }
}

interface InitialFile {
  readonly name: string;
  readonly member: string;
  readonly anchors: readonly string[];
  readonly peerId: string;
  readonly owner: string;
  readonly recovery: string | undefined;
}

/** Only where there is a recovery key: without `owners:` the deployment is owned by the key that signs it first. */
function ownersLines({ owner, recovery }: InitialFile): string {
  if (recovery === undefined) return '';
  const name = ownerName();
  return `owners: # each can decide alone
  threshold: 1
  keys:
    ${name === RECOVERY_NAME ? 'owner' : name}: ${owner}
    ${RECOVERY_NAME}: ${recovery}
`;
}

function renderFile(values: InitialFile): string {
  return `# yaml-language-server: $schema=./node_modules/@moat/contract/schema/moat.v1.json
version: 1
name: ${values.name} # names inside end in .${values.name}.internal
${ownersLines(values)}anchors: [${values.anchors.join(', ')}]

members: # places that machines take; moat invite NAME prints a token for a vacant one
  ${values.member}: { node: ${values.peerId}, keeper: true }

services: {}
#  web: { on: [${values.member}], port: 80, target: 127.0.0.1:3000, protocol: http }

access: [] # nothing else is reachable
#  - { from: [laptop], to: [web] }

publish: {} # nothing else is public
#  ${values.name}: { gateway: apps.example.com, service: web }
`;
}

/** @throws `USAGE` */
function label(text: string): string {
  if (isLabel(text)) return text;
  throw new MoatError('USAGE', `"${text}" cannot be a name`, {
    reason: 'a name is 1–63 of a–z, 0–9 and inner hyphens',
  });
}

/** A label as near to `text` as may be. */
export function toLabel(text: string, fallback: string): string {
  const candidate = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63);
  return isLabel(candidate) ? candidate : fallback;
}
