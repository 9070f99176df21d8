/** `moat join`: this machine takes a place by a token. */
import type { Joined } from '@moat/admin-api';
import { parseToken, type Token } from '@moat/contract';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { readFileOrStdin } from '../input/files.ts';
import { formatDuration, parseDuration } from '../output/units.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { closeSession, openSession } from '../owner/as-owner.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

/** As the agent's answer; no keeper was asked. */
type Held = Omit<Joined, 'keeper'> & { readonly keeper: null };

interface JoinOptions extends OwnerOptions {
  readonly owner?: boolean;
  readonly wait?: string | boolean;
  readonly expose: readonly string[];
}

const DEFAULT_WAIT = '10m';
const TOKEN_MARK = 'moat1.';
/** As the agent takes it, characters. */
const MAX_TOKEN_LENGTH = 32_768;

export function addJoin(program: Command, runner: VerbRunner): void {
  addVerb<JoinOptions>(
    program,
    runner,
    {
      usage: 'join <token-file>',
      summary: 'this machine takes the place a token is for',
      group: 'Join',
      examples: [
        ['moat join token.txt', 'from a file'],
        ['moat join - < token.txt', 'from stdin: a token never stands on a command line'],
        ['moat join token.txt --expose 5432', 'and lets the network reach 127.0.0.1:5432'],
        ['moat join token.txt --expose 3000,public', 'also from the gateways it is published at'],
        ['moat join locator.txt --owner', 'an owner’s machine that takes no place: to sign and to apply'],
      ],
      options: [
        { flags: '--wait [time]', text: `go on trying until a keeper answers (${DEFAULT_WAIT})` },
        { flags: '--expose <port>', text: 'PORT or HOST:PORT, with ,public for gateways; repeatable', list: true },
        { flags: '--owner', text: 'by your owner key and a locator, without taking a place' },
        ...OWNER_OPTIONS,
      ],
    },
    async (context, [file = ''], options) => {
      if (file.startsWith(TOKEN_MARK)) throw tokenOnCommandLine();
      const token = (await readFileOrStdin(context.io, file)).trim();
      if (token === '') throw new MoatError('TOKEN_INVALID', `${file === '-' ? 'stdin' : file} is empty`);
      if (token.length > MAX_TOKEN_LENGTH) {
        throw new MoatError('TOKEN_INVALID', 'this is no join token', { reason: 'it is longer than any token' });
      }
      if (options.owner === true) return joinAsOwner(context, token, options);
      const expose = options.expose.map(parseExpose);
      const waitMs =
        options.wait === undefined ? 0 : parseDuration(options.wait === true ? DEFAULT_WAIT : String(options.wait));
      const began = context.io.now();
      const held = await findHeld(context, token);
      if (held !== undefined) await exposeTo(context, held.deployment, expose);
      const joined = held ?? (await joinAndTell(context, { token, expose, waitMs }));
      const { style } = context;
      const took = formatDuration(context.io.now() - began);
      return {
        kind: 'joined',
        data: joined,
        text: [
          `${style.ok} this machine is ${style.bold(joined.member)} of ${style.bold(joined.name)}  ${style.dim(`version ${joined.version}, ${took}`)}`,
          ...expose.map(
            ({ target, public: open }) =>
              `${style.ok} ${target} is exposed to ${joined.name}${open === true ? ' and its gateways' : ''}`,
          ),
          `  ${style.dim('Next')}  moat status`,
        ].join('\n'),
      };
    },
  );
}

/** The deployment is held here from then on, without a place. @throws `OWNER_KEY_FOREIGN`, `NO_KEEPER_REACHABLE` */
async function joinAsOwner(context: Context, locator: string, options: OwnerOptions): Promise<Outcome> {
  const { agent, style } = context;
  const { deployment } = parseToken(locator);
  const owner = await openOwner(context, options);
  await closeSession(context, await openSession(context, owner, { locator }));
  const { id, name, version, member } = await agent.deployment(deployment);
  return {
    kind: 'joined-as-owner',
    data: { deployment: id, name, version, member, owner: owner.key },
    text: [
      `${style.ok} ${style.bold(name)} is at hand here for its owner ${owner.key}  ${style.dim(`version ${version}`)}`,
      `  ${style.dim('Next')}  moat proposals   moat apply   moat sign ID`,
    ].join('\n'),
  };
}

/**
 * The place this machine holds already, if that is the one the token is for. So `join` in a start script is harmless:
 * the invite ends once the place is written into a version.
 */
async function findHeld({ agent }: Context, text: string): Promise<Held | undefined> {
  const token = tokenOf(text);
  if (token?.member === undefined) return undefined;
  const all = await agent.deployments();
  if (!all.some(({ id }) => id === token.deployment)) return undefined;
  const { id, name, member, version, state, places } = await agent.deployment(token.deployment);
  const pinned = places.some((place) => place.self && place.state === 'pinned');
  if (state !== 'active' || member !== token.member || !pinned) return undefined;
  return { deployment: id, name, member, version, keeper: null };
}

/** Undefined for what is none: the agent says why. */
function tokenOf(text: string): Token | undefined {
  try {
    return parseToken(text);
  } catch {
    return undefined;
  }
}

async function exposeTo({ agent }: Context, deployment: string, expose: Request['expose']): Promise<void> {
  for (const { target, public: open = false } of expose) await agent.expose({ deployment, target, public: open });
}

/** Does not repeat the token. */
function tokenOnCommandLine(): MoatError {
  return new MoatError('USAGE', 'a token stands on the command line', {
    reason: 'every user of this machine can read it there, and the shell keeps it; whoever has it can take the place',
    next: ['moat join token.txt        from a file', 'moat join - < token.txt    from stdin'],
  });
}

interface Request {
  readonly token: string;
  readonly expose: readonly { readonly target: string; readonly public?: boolean }[];
  readonly waitMs: number;
}

async function joinAndTell(context: Context, request: Request): ReturnType<Context['agent']['join']> {
  const { agent, progress, io } = context;
  const what = request.waitMs > 0 ? 'waiting for a keeper' : 'asking a keeper';
  return progress.during(what, agent.join(request, { signal: io.signal }));
}

/**
 * `3000`, `3000,public`, `10.0.0.5:3000`.
 * @throws `TARGET_INVALID`
 */
export function parseExpose(text: string): { readonly target: string; readonly public?: boolean } {
  const match = /^((?:[\w.-]+:|\[[0-9a-fA-F:]+\]:)?\d{1,5})(,public)?$/.exec(text);
  if (match?.[1] === undefined || !isPort(/\d+$/.exec(match[1])?.[0])) {
    throw new MoatError('TARGET_INVALID', `"${text}" is not a port to expose`, {
      next: ['write PORT, HOST:PORT, or either with ,public'],
    });
  }
  return { target: match[1], ...(match[2] === undefined ? {} : { public: true }) };
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && Number(text) >= 1 && Number(text) <= 65_535;
}
