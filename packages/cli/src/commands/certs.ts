/** `moat certs`: which certificates the gateway on this machine holds or wants, and what keeps it from them. */
import type { GatewayCertificate, GatewayClient } from '@moat/admin-api';
import { isMoatError, MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Style } from '../output/style.ts';
import { renderTable } from '../output/table.ts';
import { formatDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';
import { addCertsClient } from './certs-client.ts';
import { lookAt, memberCertificate, renderMember } from './certs-member.ts';
import { publishedCertificates, renderPublished } from './certs-published.ts';

export function addCerts(program: Command, runner: VerbRunner): void {
  const certs = addVerb<object>(
    program,
    runner,
    {
      usage: 'certs',
      summary: 'certificates of the gateway on this machine',
      group: 'Operate',
      examples: [
        ['moat certs', 'each with its end, and what went wrong'],
        ['moat certs show shop.example.com', 'one of them, whole'],
      ],
    },
    async ({ gateway: client, style }) => {
      const { certificates } = await client.certificates();
      const now = Date.now();
      const rows = certificates.map((each) => [
        markOf(each, style),
        each.names.join(' '),
        stateOf(each, now),
        issuerOf(each),
      ]);
      const notes = certificates.map(({ failure, next }) => failure && `${failure.message}${nextTry(next, now)}`);
      const text = renderTable(rows, { notes: notes.map((note) => note ?? undefined) });
      return { kind: 'certs', data: { certificates }, text: text === '' ? 'no certificates yet' : text };
    },
  );
  addShow(certs, runner);
  addCertsClient(certs, runner);
}

function addShow(certs: Command, runner: VerbRunner): void {
  addVerb<{ at?: string }>(
    certs,
    runner,
    {
      usage: 'show <name>',
      summary: 'the certificate that a name is served with',
      examples: [
        ['moat certs show shop.example.com', 'state, names, issuer, end, renewal, last failure'],
        [
          'moat certs show www.shop.example',
          'on a member that the name is passed through to: CAA record, what the public sees',
        ],
        ['moat certs show shop', 'on a member: what its gateways say of the certificate of a name it publishes'],
      ],
      options: [{ flags: '--at <host:port>', text: 'where the public is looked at, instead of the name itself' }],
    },
    async ({ agent, gateway: client, style }, [name = ''], { at }) => {
      const own = await memberCertificate(agent, name.toLowerCase());
      if (own !== undefined) {
        const look = await lookAt(own, at);
        const isWell = own.state === 'valid' && look.result === 'same';
        return {
          kind: 'certs-show',
          data: { ...own, public: look },
          text: renderMember(own, look, style),
          exitCode: isWell ? 0 : 9,
        };
      }
      const held = await heldHere(client, name.toLowerCase()).catch((error: unknown) => {
        if (isMoatError(error, 'AGENT_NOT_RUNNING') || isMoatError(error, 'NAME_UNKNOWN')) return error;
        throw error;
      });
      if (!(held instanceof Error)) {
        const { host, certificate } = held;
        return { kind: 'certs-show', data: { host, ...certificate }, text: render(host, certificate, style) };
      }
      const published = await publishedCertificates(agent, name.toLowerCase());
      if (published.length === 0) throw held;
      const isWell = published.every(({ certificate }) => certificate.state === 'valid');
      return {
        kind: 'certs-show',
        data: { published },
        text: renderPublished(published, style),
        exitCode: isWell ? 0 : 9,
      };
    },
  );
}

/** What the gateway of this machine holds or wants for a name. @throws `AGENT_NOT_RUNNING`, `NAME_UNKNOWN` */
async function heldHere(
  client: GatewayClient,
  name: string,
): Promise<{ readonly host: string; readonly certificate: GatewayCertificate }> {
  const [{ certificates }, { domain }] = await Promise.all([client.certificates(), client.status()]);
  const host = name.includes('.') || name === domain ? name : `${name}.${domain}`;
  const found = certificates.filter(({ names }) => covers(names, host));
  const [certificate] = found.toSorted((a, b) => (b.notAfter ?? '').localeCompare(a.notAfter ?? ''));
  if (certificate) return { host, certificate };
  throw new MoatError('NAME_UNKNOWN', `the gateway has no certificate for ${host}, and wants none`, {
    reason: 'it orders for names that are published here and whose TLS it ends',
    next: ['moat certs', 'moat names'],
  });
}

function render(host: string, certificate: GatewayCertificate, style: Style): string {
  const { names, source, notBefore, notAfter, origin, next, failure, explanation } = certificate;
  const now = Date.now();
  const rows = [
    ['State', stateOf(certificate, now)],
    ['Names', names.join(' ')],
    ['Issuer', issuerOf(certificate)],
    ['From', `${SOURCES[source]} ${origin}`],
    ['Valid', notAfter === null ? '' : `${notBefore} to ${notAfter}`],
    [notAfter === null ? 'Next try' : 'Renewal', next === null ? '' : `${next} (${distance(next, now)})`],
    ['Why', explanation ?? ''],
    ['Failed', failure === null ? '' : `${failure.at}, ${failure.count === 1 ? 'once' : `${failure.count} times`}`],
    ['', failure === null ? '' : failure.message],
    ['Code', failure === null ? '' : `${failure.code}  docs/errors.md#${failure.code.toLowerCase()}`],
  ].filter(([, value]) => value !== '');
  const table = renderTable(
    rows.map(([key = '', value = '']) => [style.dim(key), value]),
    { indent: 2 },
  );
  return `${markOf(certificate, style)} ${style.bold(host)}\n${table}`;
}

const SOURCES: Readonly<Record<GatewayCertificate['source'], string>> = {
  acme: 'the authority at',
  files: 'the file',
  local: 'the authority of this gateway,',
};

function stateOf({ state, source, notAfter }: GatewayCertificate, now: number): string {
  if (source === 'local') return 'made when asked for';
  if (state === 'valid') return `valid, ends ${distance(notAfter ?? '', now)}`;
  return { ordering: 'being ordered', waiting: 'none yet', expired: `over since ${notAfter ?? ''}` }[state];
}

function markOf({ state, failure }: GatewayCertificate, style: Style): string {
  if (state === 'expired' || (state === 'waiting' && failure !== null)) return style.fail;
  return state === 'valid' && failure === null ? style.ok : style.attention;
}

function issuerOf({ issuer, source }: GatewayCertificate): string {
  return source === 'local' ? 'this gateway' : (issuer ?? '');
}

function nextTry(next: string | null, now: number): string {
  return next === null ? '' : `; next try ${distance(next, now)}`;
}

/** `in 3 min`, `2d4h ago`. */
function distance(time: string, now: number): string {
  const ms = Date.parse(time) - now;
  return ms >= 0 ? `in ${formatDuration(ms)}` : `${formatDuration(-ms)} ago`;
}

function covers(names: readonly string[], host: string): boolean {
  return names.includes(host) || names.includes(`*${host.slice(host.indexOf('.'))}`);
}
