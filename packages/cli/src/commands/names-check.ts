/** `moat names check HOST`: what the DNS and each gateway say about a host of one's own, and what is still to be done. */
import { provenBy } from '@moat/contract';
import { MoatError, errorCode } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { askedName, proofRecordOf, recordText, type HostRecord } from '../deployment/own-host.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import { EXIT } from '../exit-codes.ts';
import { renderTable } from '../output/table.ts';
import { Dns } from '../process/ask-dns.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface CheckOptions {
  readonly network?: string;
  readonly gateway?: string;
  readonly resolver: readonly string[];
}

/** One thing that was looked at. */
interface Finding {
  readonly what: string;
  /** Null where nobody said. */
  readonly ok: boolean | null;
  readonly text: string;
  readonly next: readonly string[];
}

export function addNamesCheck(names: Command, runner: VerbRunner): void {
  addVerb<CheckOptions>(
    names,
    runner,
    {
      usage: 'check <host>',
      summary: 'what the DNS and each gateway say about a host of your own',
      orDev: true,
      examples: [
        ['moat names check www.shop.example', 'its proof, where it leads, who serves it'],
        ['moat names check www.shop.example --gateway apps.example.com', 'before it is published'],
      ],
      options: [
        { flags: '--gateway <domain>', text: 'where it is to be served', env: 'MOAT_GATEWAY' },
        {
          flags: '--resolver <address>',
          text: 'ask this name server, ADDRESS or ADDRESS:PORT; repeatable',
          list: true,
        },
        NETWORK_OPTION,
      ],
    },
    checkHost,
  );
}

async function checkHost(context: Context, [text = '']: readonly string[], options: CheckOptions): Promise<Outcome> {
  const { agent, io, style } = context;
  const host = askedName({ host: text }) ?? '';
  const detail = await agent.deployment(await selectDeployment(agent, options.network));
  const published = detail.publications.filter(({ name }) => name === host);
  const gateways = [
    ...new Set([...published.map(({ gateway }) => gateway), ...(options.gateway ? [options.gateway] : [])]),
  ];
  const record = proofRecordOf({ deployment: detail.id, name: host, gateway: '' });
  if (record === undefined) throw new MoatError('INTERNAL', `${host} needs no proof`);
  const dns = openDns(options.resolver, io.signal);
  const findings = await context.progress.during(
    `asking the DNS about ${host}`,
    Promise.all([
      proofFinding(dns, host, detail.id, record),
      ...gateways.map((gateway) => wayFinding(dns, host, gateway)),
    ]),
  );
  for (const { gateway, state, error } of published) {
    const what = `at ${gateway}`;
    const said = error === null ? state : `${error.message}  ${style.dim(error.code)}`;
    findings.push({ what, ok: state === 'live' ? true : state === 'refused' ? false : null, text: said, next: [] });
  }
  if (published.length === 0) {
    const next = [`moat publish SERVICE --host ${host} -n ${detail.name}`];
    findings.push({ what: 'published', ok: null, text: `${detail.name} does not publish it yet`, next });
  }
  const marks = { true: style.ok, false: style.fail, null: style.attention };
  const rows = findings.map(({ what, ok, text: said }) => [marks[`${ok}`], what, said]);
  const next = [...new Set(findings.flatMap((finding) => finding.next))];
  return {
    kind: 'names-check',
    data: { host, deployment: detail.id, record: record.name, value: record.value, findings },
    text: [renderTable(rows), ...next.map((line) => `  ${style.dim('Next')}  ${line}`)].join('\n'),
    exitCode: findings.every(({ ok }) => ok === true) ? EXIT.done : EXIT.checkFound,
  };
}

async function proofFinding(dns: Dns, host: string, deployment: string, record: HostRecord): Promise<Finding> {
  const what = 'proof';
  const next = recordText(record, host, '').slice(0, 1);
  try {
    const proven = provenBy(await dns.texts(record.name));
    if (proven?.has(deployment) === true) {
      return { what, ok: true, text: `${record.name} names this deployment`, next: [] };
    }
    if (proven === undefined) return { what, ok: false, text: `there is no proof at ${record.name}`, next };
    const others = [...proven].join(', ') || 'no deployment';
    return { what, ok: false, text: `${record.name} names ${others}`, next };
  } catch (error) {
    return { what, ok: null, text: `nobody says what is at ${record.name} (${errorCode(error)})`, next };
  }
}

async function wayFinding(dns: Dns, host: string, gateway: string): Promise<Finding> {
  const what = 'way';
  const next = [
    `lead visitors there  ${host}. CNAME ${gateway}.   (A and AAAA of ${gateway} where ${host} is the top of its zone)`,
  ];
  try {
    const [alias, here, there] = await Promise.all([dns.alias(host), dns.addresses(host), dns.addresses(gateway)]);
    if (alias === gateway) return { what, ok: true, text: `${host} is an alias of ${gateway}`, next: [] };
    if (here.length === 0) return { what, ok: false, text: `${host} has no address`, next };
    const strays = here.filter((address) => !there.includes(address));
    if (strays.length === 0) return { what, ok: true, text: `${host} leads to ${gateway}`, next: [] };
    const known = there.join(', ') || 'no address that is known here';
    return { what, ok: false, text: `${host} leads to ${strays.join(', ')}; ${gateway} has ${known}`, next };
  } catch (error) {
    return { what, ok: null, text: `nobody says where ${host} leads (${errorCode(error)})`, next };
  }
}

/** @throws `USAGE` */
function openDns(resolvers: readonly string[], signal: AbortSignal): Dns {
  try {
    return new Dns(resolvers, signal);
  } catch (cause) {
    throw new MoatError('USAGE', `--resolver ${resolvers.join(' ')} is no address`, {
      cause,
      next: ['--resolver 192.0.2.53', '--resolver 127.0.0.1:5300'],
    });
  }
}
