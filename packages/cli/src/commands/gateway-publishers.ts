/** `moat gateway invite`, `allow`, `deny`, `forget`, `names`: who may publish at one's own gateway, decided while it runs. */
import type { GatewayPublisher } from '@moat/admin-api';
import { MoatError, isDeploymentId } from '@moat/core';
import type { Command } from 'commander';
import { reserveFile } from '../input/files.ts';
import { renderTable } from '../output/table.ts';
import { parseDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';
import { addGatewayNameVerbs } from './gateway-names.ts';

interface InviteOptions {
  readonly names?: string;
  readonly uses: string;
  readonly expires: string;
  readonly out?: string;
}

interface DecideOptions {
  readonly names?: string;
}

const NAMES_OPTION = {
  flags: '--names <count>',
  text: 'names each deployment may hold; by default what gateway.yaml says',
};

export function addGatewayPublishers(gateway: Command, runner: VerbRunner): void {
  addInvite(gateway, runner);
  const allows = 'lets a deployment publish here, at once; puts a suspended name on the air again';
  addDecision(gateway, runner, 'allow', allows, [NAMES_OPTION]);
  addDecision(gateway, runner, 'deny', 'takes a deployment’s names off the air, at once', []);
  addForget(gateway, runner);
  addGatewayNames(gateway, runner);
}

function addInvite(gateway: Command, runner: VerbRunner): void {
  addVerb<InviteOptions>(
    gateway,
    runner,
    {
      usage: 'invite',
      summary: 'prints a code with which somebody may publish here',
      examples: [
        ['moat gateway invite', 'for one deployment, within 7 days'],
        ['moat gateway invite --names 3 --uses 10 --expires 30d', 'for ten, three names each'],
        ['moat gateway invite --out code.txt', 'into a file that only you can read'],
      ],
      options: [
        NAMES_OPTION,
        { flags: '--uses <count>', text: 'deployments that may use it', preset: '1' },
        { flags: '--expires <time>', text: 'from now', preset: '7d' },
        { flags: '--out <file>', text: 'write it there, 0600, instead of showing it' },
      ],
    },
    async ({ gateway: client, io, progress, style }, _, { names, uses, expires, out }) => {
      const request = {
        ...(names === undefined ? {} : { names: countOf('--names', names) }),
        uses: countOf('--uses', uses),
        expiresInMs: parseDuration(expires),
      };
      await using file = out === undefined ? undefined : await reserveFile(io, out, 0o600);
      const { domain } = await client.status();
      const invite = await client.invite(request);
      await file?.fill(`${invite.code}\n`);
      const { code, ...told } = invite;
      const limits = `${invite.uses === 1 ? 'one deployment' : `${invite.uses} deployments`}, until ${invite.expires}`;
      progress.say(style.dim(`for ${limits}; it is shown this once`));
      progress.say(style.dim(`they type: moat publish SERVICE --gateway ${domain} --code-file ${out ?? 'FILE'}`));
      return {
        kind: 'gateway-invite',
        data: file === undefined ? invite : { ...told, file: out },
        // Nothing else on stdout: it may go into a file.
        text: out === undefined ? code : `${style.ok} ${out}`,
      };
    },
  );
}

function addDecision(
  gateway: Command,
  runner: VerbRunner,
  rule: GatewayPublisher['rule'],
  summary: string,
  options: readonly { readonly flags: string; readonly text: string }[],
): void {
  addVerb<DecideOptions>(
    gateway,
    runner,
    {
      usage: `${rule} <deployment>`,
      summary,
      examples: [
        [`moat gateway ${rule} q7f3…`, 'by its id, which the publisher is told on a refusal'],
        ...(rule === 'allow' ? [['moat gateway allow shop', 'a name that was suspended'] as const] : []),
      ],
      options,
    },
    async ({ gateway: client, style }, [deployment = ''], { names }) => {
      if (rule === 'allow' && !isDeploymentId(deployment) && names === undefined) {
        const resumed = await client.resume({ subject: deployment });
        const { subject, changed } = resumed;
        const text = changed
          ? `${style.ok} ${subject} is on the air again`
          : `${style.attention} ${subject} was not suspended`;
        return { kind: 'gateway-allow', data: resumed, text };
      }
      requireId(deployment);
      const limit = names === undefined ? {} : { names: countOf('--names', names) };
      const decided = await client.decide({ deployment, rule, ...limit });
      const done =
        rule === 'allow' ? 'may publish here' : 'is off the air; the names it holds stay held until their leases end';
      return { kind: `gateway-${rule}`, data: decided, text: `${style.ok} ${deployment} ${done}` };
    },
  );
}

function addForget(gateway: Command, runner: VerbRunner): void {
  addVerb<object>(
    gateway,
    runner,
    {
      usage: 'forget <deployment>',
      summary: 'forgets what a deployment has shown here; the next bundle counts as its first',
      examples: [
        ['moat gateway forget q7f3…', 'its publisher asks for it: HEAD_FORGED though the owners are the right ones'],
      ],
      options: [{ flags: '-y, --yes', text: 'no questions' }],
    },
    async ({ gateway: client, prompt, style }, [deployment = '']) => {
      requireId(deployment);
      const { names } = await client.names();
      const facts = names.filter((name) => name.deployment === deployment).map(({ url, state }) => `${url}  ${state}`);
      await prompt.confirm('Forget what it has shown here? Its names go off the air until it is shown again.', facts);
      const forgotten = await client.forget({ deployment });
      const { version, held } = forgotten;
      const stays = `the ${held === 1 ? 'name' : `${held} names`} it holds ${held === 1 ? 'stays' : 'stay'} held for it`;
      return {
        kind: 'gateway-forget',
        data: forgotten,
        text:
          version === null
            ? `${style.attention} nothing was known of ${deployment}`
            : `${style.ok} version ${version} of ${deployment} is forgotten${held === 0 ? '' : `; ${stays}`}`,
      };
    },
  );
}

/** @throws `USAGE` */
function requireId(deployment: string): void {
  if (isDeploymentId(deployment)) return;
  throw new MoatError('USAGE', `"${deployment}" is not a deployment id`, {
    reason: 'an id has 26 characters of a–z and 2–7; a name can be anybody’s',
    next: ['moat gateway names   lists the ids that hold names here'],
  });
}

function addGatewayNames(gateway: Command, runner: VerbRunner): void {
  const listing = addVerb<object>(
    gateway,
    runner,
    {
      usage: 'names',
      summary: 'every name held here: by whom, since when, until when',
      orDev: true,
      examples: [['moat gateway names', 'also those that were withdrawn and are still held']],
    },
    async ({ gateway: client, style }) => {
      const [{ names }, { publishers, invites, suspensions }] = await Promise.all([
        client.names(),
        client.publishers(),
      ]);
      const rows = names.map((name) => [
        name.state === 'live' && name.suspended === null ? style.ok : style.attention,
        name.url,
        `→ ${name.service || '–'}`,
        name.deployment,
        name.suspended === null ? name.state : `suspended (${name.suspended})`,
        [
          ...(name.heldUntil === null ? [] : [`held until ${name.heldUntil.slice(0, 10)}`]),
          ...((name.proof?.goneSince ?? null) === null
            ? []
            : [`its record is gone since ${name.proof?.goneSince ?? ''}`]),
        ].join('; '),
      ]);
      const rules = publishers.map(({ deployment, rule, held, names: limit, invite }) => [
        rule === 'allow' ? style.ok : style.fail,
        deployment,
        rule === 'allow' ? 'allowed' : 'denied',
        `${held}${limit === null ? '' : ` of ${limit}`} names`,
        invite === null ? '' : `by code ${invite}`,
      ]);
      const codes = invites.map(({ id, used, uses, expires }) => [
        style.dim('·'),
        `code ${id}`,
        `${used} of ${uses} used`,
        `until ${expires.slice(0, 10)}`,
      ]);
      const suspended = suspensions.map(({ subject, status, note, since }) => [
        style.fail,
        subject,
        `suspended (${status})`,
        `since ${since.slice(0, 10)}`,
        note ?? '',
      ]);
      const tables = [rows, rules, suspended, codes]
        .filter((table) => table.length > 0)
        .map((table) => renderTable(table));
      return {
        kind: 'gateway-names',
        data: { names, publishers, invites, suspensions },
        text: tables.length === 0 ? 'Nobody holds a name here yet.' : tables.join('\n\n'),
      };
    },
  );
  addGatewayNameVerbs(listing, runner);
}

/** @throws `USAGE` */
function countOf(flag: string, text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new MoatError('USAGE', `${flag} ${text} is not a number from 1 on`, { next: [`${flag} 3`] });
}

/** One line for `moat gateway status`. */
export function publishersLine(
  publishers: 'invited' | 'open' | readonly string[],
  rules: number,
  codes: number,
): string {
  const base = typeof publishers === 'string' ? publishers : `${publishers.length} allowed`;
  const more = [
    ...(rules === 0 ? [] : [`${rules} decided by name`]),
    ...(codes === 0 ? [] : [`${codes} open ${codes === 1 ? 'code' : 'codes'}`]),
  ];
  return more.length === 0 ? base : `${base} (${more.join(', ')})`;
}
