/** `moat names`: what is public, where, and whether it works. */
import type { Command } from 'commander';
import { proofRecordOf, recordText } from '../deployment/own-host.ts';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import {
  distinctRows,
  publicationMark,
  publicationReason,
  publicationState,
  withConsent,
  type ShownPublication,
} from '../output/publication.ts';
import { renderTable } from '../output/table.ts';
import { addVerb, type VerbRunner } from '../verb.ts';
import { addNamesCheck } from './names-check.ts';
import { addNamesTransfer } from './names-transfer.ts';

export function addNames(program: Command, runner: VerbRunner): void {
  const names = addVerb<{ readonly network?: string }>(
    program,
    runner,
    {
      usage: 'names',
      summary: 'what is public, where, and whether it works',
      group: 'Publish',
      orDev: true,
      examples: [
        ['moat names', 'each name at each gateway, and the records that are missing'],
        ['moat names check www.shop.example', 'what the DNS says about a host of your own'],
      ],
      options: [NETWORK_OPTION],
    },
    async ({ agent, style }, _, options) => {
      const wanted = options.network === undefined ? undefined : await selectDeployment(agent, options.network);
      const all = await agent.deployments();
      const ids = all.map(({ id }) => id).filter((id) => wanted === undefined || id === wanted);
      const [exposed, ...details] = await Promise.all([agent.exposed(), ...ids.map((id) => agent.deployment(id))]);
      const shown = details.flatMap((detail) => withConsent(detail, exposed));
      const rows = shown.map((name) => [
        publicationMark(name, style),
        name.url ?? name.name,
        `→ ${name.service}`,
        name.gateway,
        publicationState(name),
        publicationReason(name, style),
      ]);
      const nothing = 'Nothing is public.  Next: moat publish SERVICE --name NAME --gateway DOMAIN';
      const table = rows.length === 0 ? nothing : renderTable(distinctRows(rows));
      const missing = [...new Set(shown.flatMap(missingRecord))].map((line) => `  ${style.dim('Next')}  ${line}`);
      return {
        kind: 'names',
        data: { names: shown.map((name) => ({ ...name, proof: proofOf(name) })) },
        text: [table, ...missing].join('\n'),
      };
    },
  );
  addNamesCheck(names, runner);
  addNamesTransfer(names, runner);
}

/** What there is to say of the proof of a name; null for one below the gateway's domain. */
function proofOf(
  name: ShownPublication,
): { readonly record: string; readonly value: string; readonly state: string } | null {
  const record = proofRecordOf(name);
  if (record === undefined) return null;
  const states: Readonly<Record<string, string>> = { PROOF_MISSING: 'missing', PROOF_WRONG: 'wrong' };
  const state = states[name.error?.code ?? ''] ?? (name.state === 'live' ? 'proven' : 'unchecked');
  return { record: record.name, value: record.value, state };
}

function missingRecord(name: ShownPublication): string[] {
  const record = proofRecordOf(name);
  if (record === undefined || name.error?.code.startsWith('PROOF_') !== true) return [];
  return recordText(record, name.name, name.gateway).slice(0, 1);
}
