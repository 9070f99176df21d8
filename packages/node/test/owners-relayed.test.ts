import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeToken, headHash } from '@moat/contract';
import { Team, held, pin } from './team.ts';
import { Agent, until } from './world.ts';

test('an owner reaches a keeper that nobody can dial, through an anchor', async () => {
  await using anchor = await Agent.start({ flags: { anchor: true } });
  await using keeper = await Agent.start({ flags: { listen: [], linkPort: null } });
  await using outside = await Agent.start({ flags: { listen: [], linkPort: null } });
  const [address = ''] = (await anchor.client.status()).addresses;
  const team = new Team(2, 2);
  await team.create(keeper, [await pin(keeper, 'home', 2, { keeper: true })], [address]);
  await until('a reservation', async () => (await keeper.client.status()).addresses.length > 0);
  const { detail, proof } = await held(keeper, team.id);
  const { head } = proof.newest;
  const token = { deployment: team.id, version: head.version, head: headHash(head), keepers: detail.keepers };
  const session = await team.session(outside, 1, { locator: encodeToken({ ...token, anchors: [address] }) });
  assert.equal(session.keeper, await keeper.peerId());
  const proposal = await team.propose(outside, { name: 'far' }, 1);
  await outside.client.putProposal(team.id, { proposal: { ...proposal } });
  const put = await keeper.client.putProposal(team.id, { proposal: { ...team.sign(proposal, 0) } });
  assert.equal(put.applied?.version, 1);

  // without the locator: the contract names the anchor
  await outside.client.closeOwnerSession(session.session);
  await outside.stop();
  await outside.start();
  assert.equal((await team.session(outside, 1)).version, 1);
});
