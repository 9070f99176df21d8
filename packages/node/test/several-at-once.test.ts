/** Several at once: claims that a peer shows in one message, deployments of one name. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { silentLogger, systemClock, toBase64url } from '@moat/core';
import { createClaim, createInvite, witnessClaim, type MemberClaim } from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import { Deployments, type Change } from '../src/deployments/deployments.ts';
import { EventFeed } from '../src/event-feed.ts';
import { LocalTime } from '../src/local-time.ts';
import { Database } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { MachineStore } from '../src/store/machine-store.ts';
import { Chain } from './chain.ts';

interface Bench extends Disposable {
  readonly deployments: Deployments;
  readonly chain: Chain;
  readonly changes: readonly Change[];
}

/** A keeper that holds nothing yet. */
async function open(t: TestContext): Promise<Bench> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-claims-'));
  t.after(() => rm(directory, { recursive: true }));
  const database = Database.open(join(directory, 'node.db'));
  const time = new LocalTime({ clock: systemClock, store: new MachineStore(database) });
  const changes: Change[] = [];
  const chain = new Chain(createNodeKey());
  const deployments = new Deployments({
    self: chain.keeper.peerId,
    store: new DeploymentStore(database),
    write: (work) => database.write(work),
    time,
    logger: silentLogger,
    feed: new EventFeed(() => time.now()),
    onChange: (change) => changes.push(change),
    onUnkept: () => undefined,
  });
  return { deployments, chain, changes, [Symbol.dispose]: () => database.close() };
}

test('many claims make one change, and one that does not hold keeps no other out', async (t) => {
  using bench = await open(t);
  const { deployments, chain, changes } = bench;
  const names = ['one', 'two', 'three'];
  const invites = names.map(() => createInvite(randomBytes(32)));
  const { contract, proof } = chain.next({
    members: [
      { name: 'home', node: chain.keeper.peerId, ipv4: '10.77.0.2', tags: [], keeper: true },
      ...names.map((name, i) => ({
        name,
        invite: { key: invites[i]?.key ?? '', expires: '2099-01-01T00:00:00Z' },
        ipv4: `10.77.0.${i + 3}`,
        tags: [],
      })),
    ],
  });
  deployments.create(proof.genesis, contract, proof.newest);
  const id = contract.deployment;
  const claims = invites.map((invite, i): MemberClaim => {
    const details = { nonce: toBase64url(randomBytes(16)), member: names[i] ?? '', wireguard: null };
    const request = { deployment: id, details, nodeSigner: createNodeKey().signer, inviteSigner: invite.signer };
    return { ...witnessClaim(createClaim(request), Date.now(), chain.keeper.signer), details };
  });
  const [first, second, third] = claims as [MemberClaim, MemberClaim, MemberClaim];
  const forged = { ...second, keeperSignature: first.keeperSignature };
  const peer = createNodeKey().peerId;
  const taken = deployments.offerClaims(peer, id, [first, forged, third]);
  assert.deepEqual(taken, [first, third]);
  const made = changes.filter(({ kind }) => kind === 'claim');
  assert.deepEqual(
    made.map((change) => change.claims),
    [[first, third]],
  );
  assert.deepEqual(deployments.offerClaims(peer, id, [first, third]), []);
});

test('names find deployments, when they are not ambiguous', async (t) => {
  using bench = await open(t);
  const { deployments, chain } = bench;
  const { proof, contract } = chain.next();
  deployments.create(proof.genesis, contract, proof.newest);
  assert.equal(deployments.find('shop').id, contract.deployment);
  assert.equal(deployments.find(contract.deployment).id, contract.deployment);
  assert.throws(() => deployments.find('other'), { code: 'DEPLOYMENT_UNKNOWN' });
  const second = new Chain(chain.keeper).next();
  assert.equal(deployments.create(second.proof.genesis, second.contract, second.proof.newest), true);
  assert.equal(deployments.create(second.proof.genesis, second.contract, second.proof.newest), false);
  assert.throws(() => deployments.find('shop'), { code: 'DEPLOYMENT_AMBIGUOUS' });
});
