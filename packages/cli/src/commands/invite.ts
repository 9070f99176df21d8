/** `moat invite`: a token by which one machine takes a vacant place. */
import { encodeToken } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { createToken, locatorOf, type CreatedToken } from '../deployment/create-token.ts';
import { loadDeployment, NETWORK_OPTION, selectDeployment, type LoadedDeployment } from '../deployment/select.ts';
import { reserveFile, type ReservedFile } from '../input/files.ts';
import { formatDuration, parseDuration } from '../output/units.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface InviteOptions extends OwnerOptions {
  readonly network?: string;
  readonly expires: string;
  readonly out?: string;
  readonly locator?: boolean;
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
        ['moat invite --locator', 'only where the keepers are: for pinned machines and owners'],
      ],
      options: [
        { flags: '--expires <time>', text: 'how long the token works', preset: '1h' },
        { flags: '--out <file>', text: 'write it there (0600) instead of stdout' },
        { flags: '--replace', text: 'also a place that is held: its machine loses it at once' },
        { flags: '--locator', text: 'no place, only the way to the keepers' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    async (context, [member], options) => {
      const id = await selectDeployment(context.agent, options.network);
      const current = await loadDeployment(context, id);
      // Taken now: a token that cannot be written would close the one handed out before it.
      await using file = options.out === undefined ? undefined : await reserveFile(context.io, options.out, 0o600);
      if (options.locator === true) {
        const locator = locatorOf(current);
        const token = encodeToken(locator);
        return await printToken(context, options, file, { token, version: locator.version }, undefined);
      }
      if (member === undefined) {
        throw new MoatError('USAGE', 'say for which place the token is, or --locator', {
          next: vacantPlaces(current).map((name) => `moat invite ${name}`),
        });
      }
      requireVacant(current, member, options.replace === true);
      const lifetimeMs = parseDuration(options.expires);
      const owner = await openOwner(context, options);
      const created = await createToken(context, owner, current, member, lifetimeMs);
      if (current.detail.places.find(({ name }) => name === member)?.state === 'invited') {
        context.progress.say(`${context.style.attention} the token made before for ${member} works no longer`);
      }
      return await printToken(context, options, file, created, { member, expires: created.expires, lifetimeMs });
    },
  );
}

/** @throws `MEMBER_UNKNOWN`, `MEMBER_TAKEN` */
function requireVacant({ contract, detail }: LoadedDeployment, member: string, replace: boolean): void {
  const place = detail.places.find(({ name }) => name === member);
  if (place === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', `${contract.name} has no member ${member}`, {
      next: [`add it to moat.yaml and run moat apply`],
    });
  }
  if (replace || place.state === 'vacant' || place.state === 'invited') return;
  throw new MoatError('MEMBER_TAKEN', `the place ${member} is ${place.state}`, {
    reason: place.peer === null ? 'two machines claim it' : `${place.peer} holds it`,
    next: [`moat invite ${member} --replace   takes the place from that machine`],
  });
}

function vacantPlaces({ detail }: LoadedDeployment): string[] {
  return detail.places.filter(({ state }) => state === 'vacant' || state === 'invited').map(({ name }) => name);
}

async function printToken(
  { style, progress }: Context,
  options: InviteOptions,
  file: ReservedFile | undefined,
  { token, version }: Pick<CreatedToken, 'token' | 'version'>,
  place: { readonly member: string; readonly expires: string; readonly lifetimeMs: number } | undefined,
): Promise<Outcome> {
  const facts = { member: place?.member ?? null, expires: place?.expires ?? null, version };
  const what =
    place === undefined
      ? 'a locator: it leads to the keepers and opens nothing'
      : `for one machine to become ${style.bold(place.member)}; works for ${formatDuration(place.lifetimeMs)}`;
  if (file === undefined) {
    progress.say(`${style.ok} ${what}. Whoever has it can use it: hand it over in a file or a pipe.`);
    return { kind: 'token', data: { token, ...facts }, text: token };
  }
  await file.fill(`${token}\n`);
  return {
    kind: 'token',
    data: { file: options.out, ...facts },
    text: `${style.ok} ${options.out}  ${what}\n  ${style.dim('Next')}  on that machine: moat join ${options.out ?? ''}`,
  };
}
