/** What people wait for: a published name, a machine that joins. And what stays in memory where nothing happens. */
import type { Scenario } from './scenario.ts';
import type { RunningSubject, Subject } from './subject.ts';
import { LifeOfMoat, moatLife } from './subjects/moat-life.ts';

const subjects: readonly Subject[] = [moatLife];

export const lifeScenarios: readonly Scenario[] = [
  {
    name: 'growth/https1/1k/c1',
    subjects,
    quick: false,
    async measure(running) {
      const { gateway, node } = await lifeOf(running).residentBytes();
      const publishMs = await lifeOf(running).publish();
      return { publishMs, idleGatewayRssMiB: gateway / 2 ** 20, idleNodeRssMiB: node / 2 ** 20 };
    },
  },
  {
    name: 'growth/http1/1k/c1',
    subjects,
    quick: false,
    measure: async (running) => ({ joinMs: await lifeOf(running).join() }),
  },
];

function lifeOf(running: RunningSubject): LifeOfMoat {
  if (!(running instanceof LifeOfMoat)) throw new Error('only Moat has these scenarios');
  return running;
}
