import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { proposalId, type Proposal } from '@moat/contract';
import { Team, held, locatorOf, pin, waiting } from './team.ts';
import { Agent, until } from './world.ts';

const code =
  (expected: string) =>
  (error: unknown): boolean =>
    isMoatError(error, expected);

async function keeperOf(team: Team): Promise<Agent> {
  const keeper = await Agent.start();
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  return keeper;
}

function put(agent: Agent, proposal: Proposal): ReturnType<Agent['client']['putProposal']> {
  return agent.client.putProposal(proposal.contract.deployment, { proposal: { ...proposal } });
}

test('only what an owner signed is kept, and only signatures of owners on this very head', async () => {
  const [team, strangers] = [new Team(3, 2), new Team(1, 1)];
  await using keeper = await keeperOf(team);
  const bare = await team.propose(keeper, { name: 'one' });
  await assert.rejects(put(keeper, bare), code('PROPOSAL_UNSIGNED'));
  await assert.rejects(put(keeper, strangers.sign(bare, 0)), code('PROPOSAL_UNSIGNED'));
  const other = await team.propose(keeper, { name: 'two' }, 0, 1);
  await assert.rejects(put(keeper, { ...bare, signatures: other.signatures }), code('PROPOSAL_UNSIGNED'));
  // one good signature among them: it alone is kept
  const mixed = { ...bare, signatures: [...other.signatures, ...team.sign(strangers.sign(bare, 0), 2).signatures] };
  assert.equal((await put(keeper, mixed)).applied, null);
  const kept = await waiting(keeper, team.id, proposalId(bare));
  assert.deepEqual(
    kept.signatures.map(({ key }) => key),
    [team.key(2).key],
  );
  const again = await put(keeper, mixed);
  assert.deepEqual([again.changed, again.applied], [false, null]);
});

test('a proposal that is not what it says is refused', async () => {
  const team = new Team(2, 2);
  await using keeper = await keeperOf(team);
  const good = await team.propose(keeper, { name: 'one' }, 0);
  const { contract } = good;
  await assert.rejects(put(keeper, { ...good, contract: { ...contract, name: 'two' } }), code('HEAD_MISMATCH'));
  await assert.rejects(put(keeper, { ...good, head: { ...good.head, version: 7 } }), isMoatError);
  await assert.rejects(
    put(keeper, { ...good, head: { ...good.head, previous: good.head.contract } }),
    code('PROPOSAL_STALE'),
  );
  const sealed = await team.propose(keeper, { owners: team.owners([0], 1) }, 0);
  const { seal: _, ...unsealed } = sealed;
  await assert.rejects(put(keeper, unsealed), code('HEAD_FORGED'));
  assert.deepEqual((await keeper.client.proposals(team.id)).proposals, []);
});

test('an owner who floods is stopped and pushes out nothing that others left', async () => {
  const team = new Team(3, 2);
  await using keeper = await keeperOf(team);
  const honest = await team.propose(keeper, { name: 'honest' }, 0);
  await put(keeper, honest);
  const outcomes: string[] = [];
  for (let i = 0; i < 20; i++) {
    const bad = await team.propose(keeper, { name: `flood-${i}` }, 1);
    outcomes.push(
      await put(keeper, bad).then(
        () => 'kept',
        (error: unknown) => (isMoatError(error) ? error.code : 'other'),
      ),
    );
  }
  assert.equal(outcomes.filter((outcome) => outcome === 'kept').length, 16);
  assert.deepEqual(new Set(outcomes.slice(16)), new Set(['PROPOSALS_FULL']));
  const { proposals } = await keeper.client.proposals(team.id);
  assert.equal(proposals.length, 16);
  assert.ok(proposals.some(({ id }) => id === proposalId(honest)));
  // and the honest one goes on: the others of the flood are stale then
  assert.equal((await put(keeper, team.sign(honest, 2))).applied?.version, 1);
  const left = await keeper.client.proposals(team.id);
  assert.deepEqual(new Set(left.proposals.map(({ state }) => state)), new Set(['stale']));
});

test('signatures left at two keepers at once are put together, and the version is applied', async () => {
  const team = new Team(3, 3);
  await using a = await Agent.start();
  await using b = await Agent.start();
  await team.create(a, [await pin(a, 'a', 2, { keeper: true }), await pin(b, 'b', 3, { keeper: true })]);
  await b.client.join({ token: await locatorOf(a, team.id) });
  const proposal = await team.propose(a, { name: 'together' }, 0);
  await put(a, proposal);
  await until('both have it', async () => (await b.client.proposals(team.id)).proposals.length === 1);
  await Promise.all([put(a, team.sign(proposal, 1)), put(b, team.sign(proposal, 2))]);
  for (const agent of [a, b]) {
    await until('it is in force', async () => (await agent.client.deployment(team.id)).version === 1);
  }
  const { contract, proof } = await held(b, team.id);
  assert.deepEqual([contract.name, proof.newest.signatures.length], ['together', 3]);
  assert.deepEqual((await a.client.deployment(team.id)).alarms, []);
});
