/** What more of everything costs: clients that stay, names, nodes behind one gateway. */
import { gatewaySubjects } from './gateway-scenarios.ts';
import { httpLoad } from './h2load.ts';
import { idleLoad } from './idle-load.ts';
import { namesLoad } from './names-load.ts';
import type { Scenario } from './scenario.ts';
import { targetOf, type Subject } from './subject.ts';
import { BODY_BYTES } from './subjects/e2e-site.ts';
import { localMoatWithNode } from './subjects/local-moat.ts';
import { nodeCounts } from './subjects/many-nodes.ts';

/** Files a process may open bound it: two for each client of an HAProxy. */
const IDLE_CLIENTS = [1_000, 9_000] as const;

/** Without those that share a process with another: what the first has used the second finds free. */
const idleSubjects = gatewaySubjects.filter((subject) => subject !== localMoatWithNode);

const idleScenarios: readonly Scenario[] = IDLE_CLIENTS.map((clients) => ({
  name: `growth/https1/idle/c${clients}`,
  subjects: idleSubjects,
  quick: clients === IDLE_CLIENTS[0],
  rounds: 1,
  measure: (running, { signal }) =>
    idleLoad({ running, target: targetOf(running, 'https'), path: '/1k', clients, signal }),
}));

const nodesScenario: Scenario = {
  name: 'growth/https1/nodes/c64',
  subjects: nodeCounts,
  quick: true,
  measure: (running, options) =>
    httpLoad(
      {
        target: targetOf(running, 'https'),
        scheme: 'https',
        path: '/1k',
        bodyBytes: BODY_BYTES['1k'],
        connections: 64,
        pids: running.pids(),
      },
      options,
    ),
};

/** The table itself, in the harness: no other subject has one that could be asked alone. */
const tableOfNames: Subject = {
  name: 'moat',
  missing: async () => undefined,
  start: async () => ({ targets: {}, pids: () => [], [Symbol.asyncDispose]: async () => undefined }),
};
const tables: readonly Subject[] = [tableOfNames];

const namesScenarios: readonly Scenario[] = [10, 1_000, 100_000].map((names) => ({
  name: `growth/names/n${names}`,
  subjects: tables,
  quick: true,
  measure: async () => namesLoad(names),
}));

export const growthScenarios: readonly Scenario[] = [nodesScenario, ...namesScenarios, ...idleScenarios];
