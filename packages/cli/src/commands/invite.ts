/** `moat invite`: a token by which one machine takes a vacant place. */
import { encodeToken } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../context.ts';
import { createTokens, locatorOf, type CreatedToken, type CreatedTokens } from '../deployment/create-token.ts';
import { NETWORK_OPTION, lookAtDeployment, selectDeployment, type SeenDeployment } from '../deployment/select.ts';
import { reserveFile, resolvePath, type ReservedFile } from '../input/files.ts';
import { proposedOutcome } from '../output/proposal.ts';
import { formatDuration, parseDuration } from '../output/units.ts';
import { loadAsOwner, openOnce, type OpenKey } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface InviteOptions extends OwnerOptions {
  readonly network?: string;
  readonly expires: string;
  readonly out?: string;
  readonly locator?: boolean;
  readonly all?: boolean;
  readonly replace?: boolean;
}

export function addInvite(program: Command, runner: VerbRunner): void {
  addVerb<InviteOptions>(
    program,
    runner,
    {
      usage: 'invite [member]',
      summary: 'a token by which one machine takes a vacant place',
      group: 'Join',
      orDev: true,
      examples: [
        ['moat invite db-1 --out token.txt', 'a 0600 file to carry over; the token is kept nowhere else'],
        ['moat invite db-1 | ssh db-1 moat join -', 'through a pipe'],
        ['moat invite --all --out tokens/', 'every vacant place by one version: tokens/db-1.token and so on'],
        ['moat invite --locator', 'only where the keepers are: for pinned machines and owners'],
      ],
      options: [
        { flags: '--expires <time>', text: 'how long the token works', preset: '1h' },
        { flags: '--out <file>', text: 'write it there (0600) instead of stdout; with --all a directory' },
        { flags: '--all', text: 'a token for every vacant place' },
        { flags: '--replace', text: 'also a place that is held: its machine loses it at once' },
        { flags: '--locator', text: 'no place, only the way to the keepers' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    async (context, [member], options) => {
      const open = openOnce(() => openOwner(context, options));
      await using view = await loadAsOwner(
        context,
        lookAtDeployment,
        await selectDeployment(context.agent, options.network),
        open,
      );
      const { current } = view;
      if (options.all === true) return await inviteAll(context, current, open, member, options);
      // Taken now: a token that cannot be written would close the one handed out before it.
      await using file = options.out === undefined ? undefined : await reserveFile(context.io, options.out, 0o600);
      if (options.locator === true) return await printLocator(context, current, file, options);
      if (member === undefined) {
        throw new MoatError('USAGE', 'say for which place the token is, or --all, or --locator', {
          next: vacantPlaces(current).map((name) => `moat invite ${name}`),
        });
      }
      requireVacant(current, member, options.replace === true);
      const lifetimeMs = parseDuration(options.expires);
      const created = await createTokens(context, await open(), current, [member], lifetimeMs);
      warnOfOthers(context, current, [member]);
      sayWaiting(context, current, created);
      return await printToken(context, options, file, created, lifetimeMs);
    },
  );
}

/** One version for every vacant place. An open invite stays as it is: its token may be on its way. */
async function inviteAll(
  context: Context,
  current: SeenDeployment,
  open: OpenKey,
  member: string | undefined,
  options: InviteOptions,
): Promise<Outcome> {
  const { io, style } = context;
  if (member !== undefined || options.locator === true) {
    throw new MoatError('USAGE', '--all is for every vacant place', { next: ['moat invite --all'] });
  }
  const now = io.now();
  const isOver = (name: string): boolean => {
    const expires = current.contract.members.find((one) => one.name === name)?.invite?.expires;
    return options.replace === true || (expires !== undefined && Date.parse(expires) <= now);
  };
  const members = current.detail.places
    .filter(({ state, name }) => state === 'vacant' || (state === 'invited' && isOver(name)))
    .map(({ name }) => name);
  if (members.length === 0) {
    throw new MoatError('MEMBER_TAKEN', `${current.contract.name} has no vacant place`, {
      reason: 'each is held by a machine, or has a token that works still',
      next: vacantPlaces(current).map((name) => `moat invite ${name}   makes another token`),
    });
  }
  const lifetimeMs = parseDuration(options.expires);
  await using stack = new AsyncDisposableStack();
  const files = new Map<string, ReservedFile>();
  if (options.out !== undefined) {
    await mkdir(resolvePath(io, options.out), { recursive: true, mode: 0o700 });
    for (const name of members) {
      files.set(name, stack.use(await reserveFile(io, tokenFile(options.out, name), 0o600)));
    }
  }
  const created = await createTokens(context, await open(), current, members, lifetimeMs);
  warnOfOthers(context, current, members);
  sayWaiting(context, current, created);
  for (const { member: name, token } of created.tokens) await files.get(name)?.fill(`${token}\n`);

  const { out } = options;
  const { version, expires, tokens } = created;
  const lines = tokens.map(({ member: name, token }) =>
    out === undefined ? `${name} ${token}` : tokenFile(out, name),
  );
  const told = tokens.map(({ member: name, token }) =>
    out === undefined ? { member: name, token } : { member: name, file: tokenFile(out, name) },
  );
  context.progress.say(
    `${style.ok} ${tokens.length === 1 ? '1 place is' : `${tokens.length} places are`} open for ${formatDuration(lifetimeMs)}. Whoever has a token can use it.`,
  );
  return { kind: 'tokens', data: { tokens: told, version, expires }, text: lines.join('\n') };
}

function tokenFile(directory: string, member: string): string {
  return join(directory, `${member}.token`);
}

/** @throws `MEMBER_UNKNOWN`, `MEMBER_TAKEN` */
function requireVacant({ contract, detail }: SeenDeployment, member: string, replace: boolean): void {
  const place = detail.places.find(({ name }) => name === member);
  if (place === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', `${contract.name} has no member ${member}`, {
      next: [`add it to moat.yaml and run moat apply`],
    });
  }
  if (detail.state === 'ended') throw new MoatError('DEPLOYMENT_ENDED', `${contract.name} was ended by its owners`);
  const isFree = place.state === 'vacant' || place.state === 'invited';
  if (isFree || (replace && place.state !== 'device')) return;
  if (place.state === 'device') {
    throw new MoatError('MEMBER_TAKEN', `${member} is a device: no machine takes its place`, {
      next: [`moat wireguard export ${member}   makes a profile for it`],
    });
  }
  throw new MoatError('MEMBER_TAKEN', `the place ${member} is ${place.state}`, {
    reason: place.peer === null ? 'two machines claim it' : `${place.peer} holds it`,
    next: [`moat invite ${member} --replace   takes the place from that machine`],
  });
}

function vacantPlaces({ detail }: SeenDeployment): string[] {
  return detail.places.filter(({ state }) => state === 'vacant' || state === 'invited').map(({ name }) => name);
}

function warnOfOthers({ progress, style }: Context, { detail }: SeenDeployment, members: readonly string[]): void {
  for (const { name, state } of detail.places) {
    if (state !== 'invited' || !members.includes(name)) continue;
    progress.say(`${style.attention} the token made before for ${name} works no longer`);
  }
}

function sayWaiting({ progress, style }: Context, current: SeenDeployment, { submitted }: CreatedTokens): void {
  if (submitted.state === 'accepted') return;
  progress.say(proposedOutcome(style, submitted.waiting, current.contract, null).text ?? '');
  progress.say(`${style.attention} the token works once they have signed`);
}

async function printLocator(
  { style, progress }: Context,
  current: SeenDeployment,
  file: ReservedFile | undefined,
  { out }: InviteOptions,
): Promise<Outcome> {
  const locator = locatorOf({ detail: current.detail, head: current.proof.newest.head });
  const token = encodeToken(locator);
  const facts = { member: null, expires: null, version: locator.version };
  const what = 'a locator: it leads to the keepers and opens nothing';
  if (file === undefined) {
    progress.say(`${style.ok} ${what}`);
    return { kind: 'token', data: { token, ...facts }, text: token };
  }
  await file.fill(`${token}\n`);
  const next = `on a pinned machine: moat join ${out ?? ''}   on an owner’s: moat join ${out ?? ''} --owner`;
  return {
    kind: 'token',
    data: { file: out, ...facts },
    text: `${style.ok} ${out}  ${what}\n  ${style.dim('Next')}  ${next}`,
  };
}

async function printToken(
  { style, progress }: Context,
  { out }: InviteOptions,
  file: ReservedFile | undefined,
  { tokens, version, expires }: CreatedTokens,
  lifetimeMs: number,
): Promise<Outcome> {
  const { token, member } = tokens[0] as CreatedToken;
  const facts = { member, expires, version };
  const what = `for one machine to become ${style.bold(member)}; works for ${formatDuration(lifetimeMs)}`;
  if (file === undefined) {
    progress.say(`${style.ok} ${what}. Whoever has it can use it: hand it over in a file or a pipe.`);
    return { kind: 'token', data: { token, ...facts }, text: token };
  }
  await file.fill(`${token}\n`);
  return {
    kind: 'token',
    data: { file: out, ...facts },
    text: `${style.ok} ${out}  ${what}\n  ${style.dim('Next')}  on that machine: moat join ${out ?? ''}`,
  };
}
