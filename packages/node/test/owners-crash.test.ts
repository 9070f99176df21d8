import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { canonicalBytes, proposalId } from '@moat/contract';
import { createAgentClient } from '@moat/admin-api';
import { Database } from '../src/store/database.ts';
import { OwnerStore } from '../src/store/owner-store.ts';
import { Team, pin, waiting } from './team.ts';
import { Agent, until } from './world.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

/** An agent as a process of its own, once it is ready. */
async function run(stateDir: string): Promise<ChildProcess> {
  const listen = ['--no-mdns', '--socks-port', '0', '--link-host', '127.0.0.1', '--link-port', '0'];
  const args = ['--conditions=@moat/source', MAIN, '--ready', '--listen', '/ip4/127.0.0.1/tcp/0', ...listen];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'], HOME: stateDir, MOAT_HOME: stateDir },
  });
  const lines = createInterface({ input: child.stdout });
  await once(lines, 'line');
  return child;
}

test('a keeper that is killed after it took a proposal still has it, with every signature', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'moat-crash-'));
  let child = await run(stateDir);
  t.after(async () => {
    child.kill('SIGKILL');
    await rm(stateDir, { recursive: true, force: true });
  });
  const keeper = {
    client: createAgentClient({ socketPath: join(stateDir, 'agent.sock') }),
    peerId: async (): Promise<string> => (await keeper.client.status()).peerId,
  };
  const team = new Team(3, 3);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  let proposal = await team.propose(keeper, { name: 'shop-1' }, 0);
  for (const signer of [1, 2]) {
    await keeper.client.putProposal(team.id, { proposal: { ...proposal } });
    child.kill('SIGKILL');
    await once(child, 'close');
    child = await run(stateDir);
    const found = await waiting(keeper, team.id, proposalId(proposal));
    assert.equal(found.signatures.length, signer);
    proposal = team.sign(found, signer);
  }
  const last = await keeper.client.putProposal(team.id, { proposal: { ...proposal } });
  assert.equal(last.applied?.version, 1);
});

test('what a quorum signed before a crash is applied after it, the seal too', async () => {
  await using keeper = await Agent.start();
  const team = new Team(2, 1);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  const proposal = await team.propose(keeper, { owners: team.owners([1]) }, 0, 1);
  await keeper.stop();
  // On disk and acknowledged, and then the power went.
  const database = Database.open(join(keeper.stateDir, 'node.db'));
  const stored = { id: proposalId(proposal), proposal, bytes: canonicalBytes(proposal).length, receivedAt: Date.now() };
  new OwnerStore(database).saveProposal(team.id, stored, []);
  database.close();
  await keeper.start();
  await until('both versions are in force', async () => (await keeper.client.deployment(team.id)).version === 2);
  assert.deepEqual((await keeper.client.proposals(team.id)).proposals, []);
});

test('proposals wait for 30 days', async () => {
  await using keeper = await Agent.start();
  const team = new Team(2, 2);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  const proposal = await team.propose(keeper, { name: 'old' }, 0);
  await keeper.stop();
  const database = Database.open(join(keeper.stateDir, 'node.db'));
  const receivedAt = Date.now() - 30 * 24 * 3_600_000 - 1000;
  new OwnerStore(database).saveProposal(team.id, { id: proposalId(proposal), proposal, bytes: 1, receivedAt }, []);
  database.close();
  await keeper.start();
  assert.deepEqual((await keeper.client.proposals(team.id)).proposals, []);
});
