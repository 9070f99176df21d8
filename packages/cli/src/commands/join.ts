/** `moat join`: this machine takes a place by a token. */
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { readFileOrStdin } from '../input/files.ts';
import { formatDuration, parseDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

interface JoinOptions {
  readonly wait?: string | boolean;
  readonly expose: readonly string[];
}

const DEFAULT_WAIT = '10m';

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
      ],
      options: [
        { flags: '--wait [time]', text: `go on trying until a keeper answers (${DEFAULT_WAIT})` },
        { flags: '--expose <port>', text: 'PORT or HOST:PORT, with ,public for gateways; repeatable', list: true },
      ],
    },
    async (context, [file = ''], options) => {
      const token = (await readFileOrStdin(context.io, file)).trim();
      if (token === '') throw new MoatError('TOKEN_INVALID', `${file === '-' ? 'stdin' : file} is empty`);
      const expose = options.expose.map(parseExpose);
      const waitMs =
        options.wait === undefined ? 0 : parseDuration(options.wait === true ? DEFAULT_WAIT : String(options.wait));
      const began = context.io.now();
      const joined = await joinAndTell(context, { token, expose, waitMs });
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
  if (match?.[1] === undefined) {
    throw new MoatError('TARGET_INVALID', `"${text}" is not a port to expose`, {
      next: ['write PORT, HOST:PORT, or either with ,public'],
    });
  }
  return { target: match[1], ...(match[2] === undefined ? {} : { public: true }) };
}
