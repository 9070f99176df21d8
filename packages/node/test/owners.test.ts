import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { createOwnerProof, endedContract, headHash, proposalId } from '@moat/contract';
import { FakeGateway } from './fake-gateway.ts';
import { Team, held, locatorOf, pin, submit, waiting } from './team.ts';
import { Agent, until } from './world.ts';

const code =
  (expected: string) =>
  (error: unknown): boolean =>
    isMoatError(error, expected);

/** Introduces a pinned member to the keeper by a locator. */
async function locate(agent: Agent, keeper: Agent, team: Team): Promise<void> {
  await agent.client.join({ token: await locatorOf(keeper, team.id) });
}

test('2 of 3 owners at three machines, one of them no member: one signature changes nothing, two do', async () => {
  await using keeper = await Agent.start();
  await using member = await Agent.start();
  await using outside = await Agent.start();
  const team = new Team(3, 2);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true }), await pin(member, 'laptop', 3)]);
  await locate(member, keeper, team);

  // the first owner, on the keeper's own machine
  const proposal = await team.propose(keeper, { name: 'shop-2' }, 0);
  const put = await keeper.client.putProposal(team.id, { proposal: { ...proposal } });
  assert.equal(put.applied, null);
  assert.deepEqual([put.proposal.state, put.proposal.weight, put.proposal.threshold], ['open', 1, 2]);
  await assert.rejects(keeper.client.applyProposal(team.id, put.proposal.id), code('QUORUM_MISSING'));
  await assert.rejects(submit(keeper, proposal), code('QUORUM_MISSING'));
  assert.equal((await keeper.client.deployment(team.id)).version, 0);

  // the second, on a machine that is no keeper, sees it and signs nothing
  await assert.rejects(member.client.proposals(team.id), code('OWNER_SESSION_NEEDED'));
  await team.session(member, 1);
  assert.deepEqual(
    (await member.client.proposals(team.id)).proposals.map(({ id }) => id),
    [put.proposal.id],
  );

  // the third, on a machine without a place
  const locator = await locatorOf(keeper, team.id);
  const session = await team.session(outside, 2, { locator });
  assert.deepEqual([session.name, session.version], ['shop', 0]);
  const summary = await outside.client.deployment(team.id);
  assert.equal(summary.member, null);
  const found = await waiting(outside, team.id, put.proposal.id);
  assert.equal(headHash(found.head), proposalId(proposal));
  const last = await outside.client.putProposal(team.id, { proposal: { ...team.sign(found, 2) } });
  assert.deepEqual([last.applied?.version, last.applied?.keeper], [1, await keeper.peerId()]);
  assert.equal((await outside.client.deployment(team.id)).contract['name'], 'shop-2');
  assert.equal((await keeper.client.deployment(team.id)).version, 1);
  await until('the member has it', async () => (await member.client.deployment(team.id)).version === 1);
  assert.deepEqual((await keeper.client.proposals(team.id)).proposals, []);

  // held without a place: also after a restart, and nobody is dialed for it
  await outside.client.closeOwnerSession(session.session);
  await outside.stop();
  await outside.start();
  assert.equal((await outside.client.deployment(team.id)).version, 1);
  assert.equal((await outside.client.status()).connections, 0);
  // the deployment is known: no locator is needed any more, and it applies by itself
  await team.session(outside, 2);
  const next = await team.apply(outside, { name: 'shop-3' });
  assert.deepEqual([next.version, next.keeper], [2, await keeper.peerId()]);
  assert.equal((await keeper.client.deployment(team.id)).version, 2);

  // a later version gives it a place: it joins as any machine
  const { contract } = await held(keeper, team.id);
  const { version: _, ...joined } = { ...contract, members: [...contract.members, await pin(outside, 'outside', 9)] };
  await team.apply(keeper, joined);
  assert.equal((await outside.client.join({ token: locator })).member, 'outside');
  assert.equal((await outside.client.status()).connections, 1);
});

test('whoever proves nothing gets nothing, and a proof counts once', async () => {
  await using keeper = await Agent.start();
  await using outside = await Agent.start();
  const team = new Team(2, 1);
  const strangers = new Team(1, 1);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  const locator = await locatorOf(keeper, team.id);
  const ask = () => outside.client.ownerChallenge({ locator });
  const sign = ({ deployment, dialer, keeper: peer, time }: Awaited<ReturnType<typeof ask>>, by: Team, at = time) =>
    createOwnerProof({ deployment, dialer, keeper: peer ?? '', time: at }, by.key(0).signer);
  const show = (asked: Awaited<ReturnType<typeof ask>>, signed: ReturnType<typeof sign>) =>
    outside.client.openOwnerSession({ challenge: asked.challenge ?? '', signed: { ...signed } });

  let asked = await ask();
  await assert.rejects(show(asked, sign(asked, strangers)), code('OWNER_REFUSED'));
  await assert.rejects(show(asked, sign(asked, team)), code('CHALLENGE_UNKNOWN'));
  asked = await ask();
  const old = `${new Date(Date.now() - 301_000).toISOString().slice(0, 19)}Z`;
  await assert.rejects(show(asked, sign(asked, team, old)), code('OWNER_REFUSED'));
  assert.deepEqual(await outside.client.deployments(), []);

  asked = await ask();
  const signed = sign(asked, team);
  const opened = await show(asked, signed);
  await outside.client.closeOwnerSession(opened.session);
  asked = await ask();
  await assert.rejects(show(asked, signed), code('OWNER_REFUSED'));
  await assert.rejects(outside.client.proposals(team.id), code('OWNER_SESSION_NEEDED'));
});

test('an owner is dropped by the old quorum alone, and its machine is out at once', async () => {
  await using keeper = await Agent.start();
  await using outside = await Agent.start();
  const team = new Team(3, 2);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  await team.session(outside, 2, { locator: await locatorOf(keeper, team.id) });
  const dropped = await team.propose(keeper, { owners: team.owners([0, 1]) }, 0);
  const put = await keeper.client.putProposal(team.id, { proposal: { ...dropped } });
  assert.deepEqual([put.applied, put.proposal.newOwners], [null, { met: false, weight: 1, threshold: 2 }]);
  const both = await keeper.client.putProposal(team.id, { proposal: { ...team.sign(dropped, 1) } });
  // the succession and its seal
  assert.equal(both.applied?.version, 2);
  const { contract, proof } = await held(keeper, team.id);
  assert.deepEqual([contract.owners.keys.length, proof.successions.length], [2, 1]);
  await until('the dropped owner is out', async () => {
    try {
      await outside.client.proposals(team.id);
      return false;
    } catch (error) {
      return isMoatError(error);
    }
  });
  await assert.rejects(team.session(outside, 2), code('OWNER_REFUSED'));
  // what it signs with one of the others is worth nothing now
  const late = await team.propose(keeper, { name: 'taken' }, 1, 2);
  assert.equal((await keeper.client.putProposal(team.id, { proposal: { ...late } })).applied, null);
  await assert.rejects(submit(keeper, late), code('HEAD_FORGED'));
});

test('an owner at a machine that is no member drops itself, hears that it is in force, and is out', async () => {
  await using keeper = await Agent.start();
  await using outside = await Agent.start();
  const team = new Team(3, 2);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })]);
  await team.session(outside, 2, { locator: await locatorOf(keeper, team.id) });
  const leaving = await team.propose(keeper, { owners: team.owners([0, 1]) }, 0, 1, 2);
  const put = await outside.client.putProposal(team.id, { proposal: { ...leaving } });
  assert.equal(put.applied?.version, 2, 'in force here too, and sealed');
  await assert.rejects(outside.client.proposals(team.id), (error) => isMoatError(error));
  await assert.rejects(team.session(outside, 2), code('OWNER_REFUSED'));
});

test('of two versions applied at once one wins, and nobody sees a fork', async () => {
  await using a = await Agent.start();
  await using b = await Agent.start();
  await using laptop = await Agent.start();
  const team = new Team(1, 1);
  await team.create(a, [
    await pin(a, 'a', 2, { keeper: true }),
    await pin(b, 'b', 3, { keeper: true }),
    await pin(laptop, 'laptop', 4),
  ]);
  await locate(b, a, team);
  await locate(laptop, a, team);
  const agents = [a, b, laptop];
  for (let round = 1; round <= 3; round++) {
    const proposals = await Promise.all(
      agents.map((agent, i) => team.propose(agent, { name: `shop-${round}-${i}` }, 0)),
    );
    const results = await Promise.allSettled(
      agents.map((agent, i) => {
        const proposal = proposals[i];
        assert.ok(proposal !== undefined);
        return submit(agent, proposal);
      }),
    );
    const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    assert.equal(lost.length, 2, `one of three wins round ${round}`);
    for (const error of lost) {
      assert.ok(
        isMoatError(error) && ['VERSION_CONFLICT', 'VERSION_OLD', 'HEAD_FORKED'].includes(error.code),
        String(error),
      );
    }
    await until('all hold the winner', async () => {
      const details = await Promise.all(agents.map((agent) => agent.client.deployment(team.id)));
      return details.every(({ version, head }) => version === round && head === details[0]?.head);
    });
  }
  for (const agent of agents) assert.deepEqual((await agent.client.deployment(team.id)).alarms, []);
});

test('with no keeper in reach a version needs to be applied offline', async () => {
  await using keeper = await Agent.start();
  await using laptop = await Agent.start();
  const team = new Team(1, 1);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true }), await pin(laptop, 'laptop', 3)]);
  await locate(laptop, keeper, team);
  const accepted = await team.apply(laptop, { name: 'shop-1' });
  assert.deepEqual([accepted.version, accepted.keeper], [1, await keeper.peerId()]);
  await keeper.stop();
  await assert.rejects(team.apply(laptop, { name: 'shop-2' }), code('NO_KEEPER_REACHABLE'));
  assert.equal((await laptop.client.deployment(team.id)).version, 1);
  const offline = await team.apply(laptop, { name: 'shop-2' }, true);
  assert.deepEqual([offline.version, offline.keeper], [2, null]);
});

test('keepers pass proposals on, also to one that was away; whatever keeper sees the quorum applies', async () => {
  await using a = await Agent.start();
  await using b = await Agent.start();
  const team = new Team(3, 2);
  await team.create(a, [await pin(a, 'a', 2, { keeper: true }), await pin(b, 'b', 3, { keeper: true })]);
  await locate(b, a, team);
  const first = await team.propose(a, { name: 'shop-1' }, 0);
  await a.client.putProposal(team.id, { proposal: { ...first } });
  const at = async (agent: Agent): Promise<string[]> =>
    (await agent.client.proposals(team.id)).proposals.map(({ id }) => id);
  await until('b has it too', async () => (await at(b)).length === 1);
  await b.stop();
  const second = await team.propose(a, { name: 'shop-2' }, 1);
  await a.client.putProposal(team.id, { proposal: { ...second } });
  await b.start();
  await until('b took what it missed', async () => (await at(b)).length === 2);
  // signed at b, the second in order: the first keeper takes it
  const put = await b.client.putProposal(team.id, { proposal: { ...team.sign(first, 1) } });
  assert.equal(put.applied?.version, 1);
  assert.equal((await a.client.deployment(team.id)).head, put.proposal.id);
  const left = await a.client.proposals(team.id);
  assert.deepEqual(
    left.proposals.map(({ id, state }) => [id, state]),
    [[proposalId(second), 'stale']],
  );
  await assert.rejects(
    a.client.putProposal(team.id, { proposal: { ...team.sign(second, 2) } }),
    code('PROPOSAL_STALE'),
  );
});

test('what members did with a version is signed, passed on and shown', async () => {
  await using keeper = await Agent.start();
  await using one = await Agent.start();
  await using two = await Agent.start();
  const team = new Team(1, 1);
  await team.create(keeper, [
    await pin(keeper, 'home', 2, { keeper: true }),
    await pin(one, 'one', 3),
    await pin(two, 'two', 4),
  ]);
  await locate(one, keeper, team);
  await locate(two, keeper, team);
  await team.apply(keeper, { name: 'shop-1' });
  for (const agent of [keeper, one, two]) {
    await until('everybody knows what all did', async () => {
      const { memberReceipts } = await agent.client.deployment(team.id);
      return (
        memberReceipts.length === 3 &&
        memberReceipts.every(({ version, result }) => version === 1 && result === 'applied')
      );
    });
  }
  const { memberReceipts } = await two.client.deployment(team.id);
  assert.deepEqual(
    memberReceipts.map(({ member }) => member),
    ['home', 'one', 'two'],
  );
  await keeper.stop();
  await keeper.start();
  assert.equal((await keeper.client.deployment(team.id)).memberReceipts.length, 3);
});

test('an ended deployment stops everywhere, is withdrawn, and takes no further version', async () => {
  await using gateway = await FakeGateway.start();
  await using keeper = await Agent.start();
  await using laptop = await Agent.start();
  const team = new Team(1, 1);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true }), await pin(laptop, 'laptop', 3)]);
  await locate(laptop, keeper, team);
  const pinned = { domain: 'localhost', peers: [gateway.address] };
  await team.apply(keeper, {
    services: [{ name: 'web', on: ['home'], port: 80, target: '127.0.0.1:3000', protocol: 'tcp' }],
    access: [{ from: ['laptop'], to: ['web'] }],
    publish: [{ name: 'shop', salt: 'A'.repeat(22), service: 'web', tls: 'terminate', gateway: pinned }],
  });
  await until('the service has a listener', async () => {
    const { services } = await laptop.client.deployment(team.id);
    return (services[0]?.local ?? null) !== null;
  });
  await until('the name is live', async () => (await keeper.client.publications())[0]?.state === 'live');
  const { contract } = await held(keeper, team.id);
  const { version: _, ...ended } = endedContract(contract);
  await team.apply(keeper, ended);
  await until('the laptop follows', async () => {
    const { state, services } = await laptop.client.deployment(team.id);
    return state === 'ended' && services.every(({ local }) => local === null);
  });
  const last = await until('the gateway is told', async () => {
    const shown = gateway.shown.at(-1)?.bundle;
    return shown?.proof.newest.head.version === 2 && shown;
  });
  assert.deepEqual([last.publications, last.proof.newest.head.publications], [[], []]);
  assert.deepEqual(await keeper.client.publications(), []);
  await assert.rejects(team.apply(keeper, { state: 'active' }), code('DEPLOYMENT_ENDED'));
  await assert.rejects(team.apply(laptop, { name: 'again' }), code('DEPLOYMENT_ENDED'));
  await laptop.stop();
  await laptop.start();
  assert.equal((await laptop.client.deployment(team.id)).state, 'ended');
});
