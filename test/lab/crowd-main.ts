/**
 * Many machines in one process: real agents, each with a key, a database and a local API of its own.
 * `crowd-main.ts FOLDER COUNT` says one JSON a line: `{ peers }` when all run, then whatever happens at one of them.
 * A line on stdin is a locator: all join by it, a few at once.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createAgentClient, type AgentClient } from '@moat/admin-api';
import { silentLogger } from '@moat/core';
import { createNode, loadNodeConfig } from '@moat/node';

const [folder = '', count = '0'] = process.argv.slice(2);
const JOIN_MS = 120_000;
/** Machines that join at the same time. */
const AT_ONCE = 8;
const say = (value: object): boolean => process.stdout.write(`${JSON.stringify(value)}\n`);

const clients: AgentClient[] = [];
const peers: string[] = [];
for (let i = 0; i < Number(count); i++) {
  const stateDir = join(folder, String(i));
  await mkdir(stateDir, { mode: 0o700 });
  const flags = { stateDir, inbound: false, socksPort: null, dns: false, mdns: false, acmeDirectory: 'off' } as const;
  const node = createNode({ logger: silentLogger }, await loadNodeConfig({ env: {}, files: [], flags }));
  await node.start({ signal: AbortSignal.timeout(JOIN_MS) });
  peers.push(node.status().peerId);
  const client = createAgentClient({ socketPath: join(stateDir, 'agent.sock') });
  clients.push(client);
  void follow(i, client);
}
say({ peers });

for await (const token of createInterface({ input: process.stdin })) {
  const waiting = [...clients.entries()];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [i, client] = next;
      try {
        await client.join({ token, waitMs: JOIN_MS });
        say({ joined: i });
      } catch {
        // a busy machine dials too slowly now and then; whoever cannot join at all ends the test by its deadline
        waiting.push([i, client]);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** Says which version came into force, and when. */
async function follow(machine: number, client: AgentClient): Promise<void> {
  for await (const event of client.events(new AbortController().signal)) {
    if (event.kind === 'version') say({ machine, version: event.version, result: event.result, at: Date.now() });
  }
}
