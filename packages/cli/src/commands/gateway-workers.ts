/** The processes that carry a gateway's traffic: lines of its status, and `moat gateway restart-workers`. */
import type { GatewayWorker } from '@moat/admin-api';
import type { Command } from 'commander';
import type { Style } from '../output/style.ts';
import { renderTable } from '../output/table.ts';
import { formatDuration } from '../output/units.ts';
import { addVerb, type VerbRunner } from '../verb.ts';

/** Time for all workers, one after the other. */
const RESTART_MS = 300_000;

export function addRestartWorkers(gateway: Command, runner: VerbRunner): void {
  addVerb<object>(
    gateway,
    runner,
    {
      usage: 'restart-workers',
      summary: 'puts new workers in place, one by one; no connection is refused',
      examples: [['moat gateway restart-workers', 'those that leave serve their clients for a minute']],
    },
    async ({ gateway: client, style }) => {
      await client.restartWorkers({ timeoutMs: RESTART_MS });
      const { workers } = await client.status();
      const count = workers.filter(({ state }) => state === 'serving').length;
      return {
        kind: 'gateway-workers-restarted',
        data: { workers },
        text: `${style.ok} ${count} new ${count === 1 ? 'worker serves' : 'workers serve'}`,
      };
    },
  );
}

/** One line a worker, for `moat gateway status`; none where the gateway is one process. */
export function workerLines(workers: readonly GatewayWorker[], style: Style): string[] {
  if (workers.length === 0) return [];
  const rows = workers.map((worker) => [
    worker.state === 'serving' ? style.ok : style.attention,
    `worker ${worker.pid}`,
    worker.state,
    `links ${worker.links}${worker.pipedLinks === 0 ? '' : ` (${worker.pipedLinks} slow)`}`,
    `clients ${worker.connections}`,
    `requests ${worker.requestsTotal} (${worker.requestsInFlight} now)`,
    `up ${formatDuration(worker.uptimeMs)}`,
    worker.restarts === 0 ? '' : `restarted ${worker.restarts} times`,
  ]);
  return [renderTable(rows, { indent: 2 })];
}
