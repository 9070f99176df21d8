/** `moat names`: what is public, where, and whether it works. */
import type { Command } from 'commander';
import { NETWORK_OPTION, selectDeployment } from '../deployment/select.ts';
import {
  distinctRows,
  publicationMark,
  publicationReason,
  publicationState,
  withConsent,
} from '../output/publication.ts';
import { renderTable } from '../output/table.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

export function addNames(program: Command, runner: VerbRunner): void {
  addVerb<{ readonly network?: string }>(
    program,
    runner,
    {
      usage: 'names',
      summary: 'what is public, where, and whether it works',
      group: 'Publish',
      orDev: true,
      examples: [['moat names', 'each name at each gateway']],
      options: [NETWORK_OPTION],
    },
    async ({ agent, style }, _, options) => {
      const wanted = options.network === undefined ? undefined : await selectDeployment(agent, options.network);
      const all = await agent.deployments();
      const ids = all.map(({ id }) => id).filter((id) => wanted === undefined || id === wanted);
      const [exposed, ...details] = await Promise.all([agent.exposed(), ...ids.map((id) => agent.deployment(id))]);
      const names = details.flatMap((detail) => withConsent(detail, exposed));
      const rows = names.map((name) => [
        publicationMark(name, style),
        name.url ?? name.name,
        `→ ${name.service}`,
        name.gateway,
        publicationState(name),
        publicationReason(name, style),
      ]);
      const nothing = 'Nothing is public.  Next: moat publish SERVICE --name NAME --gateway DOMAIN';
      return { kind: 'names', data: { names }, text: rows.length === 0 ? nothing : renderTable(distinctRows(rows)) };
    },
  );
}
