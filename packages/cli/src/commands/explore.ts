/** `moat explore`: who wishes to be found: nodes, gateways and people. */
import { keyOfPerson, type NodeEntry, type PersonEntry, type SignedEntry } from '@moat/contract';
import { MoatError } from '@moat/core';
import { fingerprintWords } from '@moat/identity';
import type { FindRequest } from '@moat/admin-api';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { findEntries } from '../deployment/find-people.ts';
import { renderTable } from '../output/table.ts';
import { shorten } from '../output/units.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface ExploreOptions {
  readonly region?: string;
  readonly role?: string;
  readonly handle?: string;
}

const KINDS: Readonly<Record<string, FindRequest>> = {
  all: {},
  nodes: { kind: 'node' },
  gateways: { kind: 'node', role: 'gateway' },
  people: { kind: 'person' },
};
const ROLES = ['anchor', 'gateway', 'node', 'relay'] as const;

export function addExplore(program: Command, runner: VerbRunner): void {
  addVerb<ExploreOptions>(
    program,
    runner,
    {
      usage: 'explore [gateways|nodes|people]',
      summary: 'the public directory: gateways, nodes and people who wish to be found',
      group: 'Use',
      orDev: true,
      examples: [
        ['moat explore', 'everybody the anchors of your networks know'],
        ['moat explore gateways --region eu-west', 'where something could be published'],
        ['moat explore nodes --role anchor', 'machines that let others meet'],
        ['moat explore people --handle ben', 'whose key that is, as words to compare'],
      ],
      options: [
        { flags: '--region <name>', text: 'only machines that stand there' },
        { flags: '--role <role>', text: `only machines that are one: ${ROLES.join(', ')}` },
        { flags: '--handle <name>', text: 'only people who are called so' },
      ],
    },
    explore,
  );
}

async function explore(context: Context, [kind = 'all']: readonly string[], options: ExploreOptions): Promise<Outcome> {
  const base = KINDS[kind];
  if (base === undefined) throw usage(`"${kind}" is not listed`, 'moat explore gateways, nodes or people');
  const role = ROLES.find((each) => each === options.role);
  if (options.role !== undefined && role === undefined) throw usage(`"${options.role}" is no role`, ROLES.join(', '));
  const { region, handle } = options;
  const found = await findEntries(context, {
    ...base,
    ...(role === undefined ? {} : { role }),
    ...(region === undefined ? {} : { region }),
    ...(handle === undefined ? {} : { handle }),
  });
  const entries = found.map(({ entry }) => entry);
  const machines = entries.filter((entry) => entry.kind === 'node').sort(byName(nameOfMachine));
  const people = entries.filter((entry) => entry.kind === 'person').sort(byName(({ handle: name }) => name));
  return {
    kind: 'directory',
    data: { entries: found.map(dataOf) },
    text: textOf(context, machines, people),
  };
}

function textOf({ style }: Context, machines: readonly NodeEntry[], people: readonly PersonEntry[]): string {
  const tables: string[] = [];
  if (machines.length > 0) {
    const rows = machines.map((machine) => [
      style.bold(nameOfMachine(machine)),
      machine.roles.join(' '),
      machine.region ?? '',
      machine.load === undefined ? '' : `load ${machine.load} %`,
      offerOf(machine),
      machine.terms ?? '',
    ]);
    tables.push(renderTable(rows));
  }
  if (people.length > 0) {
    const rows = people.map((person) => [
      `@${style.bold(person.handle)}${person.bot === true ? ' (bot)' : ''}`,
      keyOfPerson(person),
      fingerprintWords(keyOfPerson(person)),
      person.contact ?? '',
    ]);
    tables.push(renderTable(rows));
  }
  if (tables.length === 0) return 'Nobody like that is in the directory of these anchors.';
  return tables.join('\n\n');
}

function dataOf({ entry }: SignedEntry): object {
  if (entry.kind === 'node') return entry;
  const key = keyOfPerson(entry);
  return { ...entry, key, words: fingerprintWords(key) };
}

function nameOfMachine({ domain, node }: NodeEntry): string {
  return domain ?? shorten(node);
}

function offerOf({ offeredTo }: NodeEntry): string {
  if (offeredTo === undefined) return '';
  return offeredTo === 'anyone' ? 'for anyone' : `for ${offeredTo.length} owner${offeredTo.length === 1 ? '' : 's'}`;
}

function byName<T>(nameOf: (item: T) => string): (a: T, b: T) => number {
  return (a, b) => nameOf(a).localeCompare(nameOf(b));
}

function usage(message: string, next: string): MoatError {
  return new MoatError('USAGE', message, { next: [next] });
}
