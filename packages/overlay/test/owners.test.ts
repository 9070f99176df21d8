import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { isMoatError, type DeploymentId, type PeerConnection } from '@moat/core';
import {
  createInvite,
  createOwnerProof,
  createReceipt,
  headHash,
  proposalId,
  proposalOf,
  signProposal,
  type SignedOwnerProof,
} from '@moat/contract';
import { TestOwners } from './owners.fixture.ts';
import { Deployment, introduce, soon, started, until, type Machine } from './world.fixture.ts';

/** A keeper of `shop`, its owner's side of the port, and an owner's machine that has no place. */
async function shopWithOwner(): Promise<{
  readonly alice: Machine;
  readonly owners: TestOwners;
  readonly ana: Machine;
  readonly shop: Deployment;
}> {
  let owners: TestOwners | undefined;
  const alice = await started({ owners: (view, self) => (owners = new TestOwners(view, self)) });
  const ana = await started();
  const shop = new Deployment();
  introduce(shop.version({ 'alice!': alice.peer }), alice);
  assert.ok(owners !== undefined);
  return { alice, owners, ana, shop };
}

function time(offsetMs = 0): string {
  return `${new Date(Date.now() + offsetMs).toISOString().slice(0, 19)}Z`;
}

function proofOf(shop: Deployment, dialer: Machine, keeper: Machine, at: string = time()): SignedOwnerProof {
  return createOwnerProof(
    { deployment: shop.id, dialer: dialer.peer, keeper: keeper.peer, time: at },
    shop.owner.signer,
  );
}

function nextProposal(shop: Deployment): ReturnType<typeof proposalOf> {
  const { newest } = shop;
  assert.ok(newest !== undefined);
  const next = { ...newest.contract, version: newest.contract.version + 1, name: 'shop-2' };
  const current = { contract: newest.contract, head: newest.proof.newest.head };
  return signProposal(proposalOf(current, next), shop.owner.signer);
}

const code =
  (expected: string) =>
  (error: unknown): boolean =>
    isMoatError(error, expected);

/** On probation a stream is reset before or after it was opened. */
const isReset = (error: unknown): boolean => code('PROTOCOL_UNSUPPORTED')(error) || code('STREAM_ENDED')(error);

test('an owner who is no member is admitted for one deployment until the connection closes', async () => {
  const { alice, owners, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  const { keepers } = ana.overlay;
  const connection = await ana.overlay.dial(alice.overlay.addresses(), soon());
  await assert.rejects(keepers.list(connection, shop.id, soon()), isReset);
  const answer = await ana.overlay.showOwner(connection, proofOf(shop, ana, alice), soon());
  assert.ok(answer.ok);
  assert.equal(answer.owner, shop.owner.key);
  assert.deepEqual(Buffer.from(answer.snapshot.contract), Buffer.from(shop.newest?.bytes ?? ''));

  const proposal = nextProposal(shop);
  assert.equal((await keepers.put(connection, shop.id, proposal, soon())).changed, true);
  assert.deepEqual(
    (await keepers.list(connection, shop.id, soon())).map(({ id }) => id),
    [proposalId(proposal)],
  );
  assert.deepEqual((await keepers.get(connection, shop.id, proposalId(proposal), soon())).proposal, proposal);
  const unknown = proposalId({ head: { ...proposal.head, version: 7 } });
  await assert.rejects(keepers.get(connection, shop.id, unknown, soon()), code('PROPOSAL_UNKNOWN'));
  assert.equal((await keepers.pull(connection, shop.id, soon())).proof.newest.head.version, 0);
  // not a member: hello names nothing, and no news is pushed
  assert.deepEqual(ana.overlay.shared(connection), []);
  const version = shop.version({ 'alice!': alice.peer, bob: ana.peer });
  await keepers.take(connection, shop.id, { proof: version.proof, contract: version.bytes }, soon());
  assert.equal(owners.taken.length, 1);

  await alice.overlay.stop();
  await until(() => connection.closed.aborted, 'the connection closes');
});

test('proofs that hold for nobody here get the refusal of a claim, in the same bytes and time', async () => {
  const { alice, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  await using mallory = await started();
  const good = proofOf(shop, ana, alice);
  const stranger = createInvite(randomBytes(32));
  const fields = { deployment: shop.id, dialer: mallory.peer, keeper: alice.peer, time: time() };
  const other = 'a'.repeat(26);
  const proofs: SignedOwnerProof[] = [
    good, // another machine's, replayed
    proofOf(shop, mallory, ana), // for another keeper
    proofOf(shop, mallory, alice, time(-310_000)),
    proofOf(shop, mallory, alice, time(310_000)),
    createOwnerProof(fields, stranger.signer),
    createOwnerProof({ ...fields, deployment: other }, shop.owner.signer),
    { ...createOwnerProof(fields, stranger.signer), proof: { ...proofOf(shop, mallory, alice).proof } },
  ];
  const connection = await mallory.overlay.dial(alice.overlay.addresses(), soon());
  const answers: string[] = [];
  for (const owner of proofs) {
    const begin = performance.now();
    const stream = await mallory.overlay.open(connection, '/moat/join/1', soon());
    await stream.write(Buffer.from(JSON.stringify({ owner })), soon());
    const length = await stream.read(soon());
    answers.push(Buffer.concat([length, await stream.read(soon())]).toString('latin1'));
    await stream.close();
    assert.ok(performance.now() - begin >= 240, 'not before its time');
  }
  assert.equal(new Set(answers).size, 1);
  assert.match(answers[0] ?? '', /JOIN_REFUSED/);
  assert.equal(answers[0]?.length, 4 + 512);
  await assert.rejects(mallory.overlay.keepers.list(connection, shop.id, soon()), isReset);
});

test('an owner asks only for the deployment proved; a member and a stranger for nothing but to take', async () => {
  const { alice, owners, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  const other = new Deployment();
  const [first, second] = [
    shop.version({ 'alice!': alice.peer, ana: ana.peer }),
    other.version({ 'alice!': alice.peer }),
  ];
  introduce(first, alice, ana);
  introduce(second, alice);
  const connection = await ana.overlay.connect(alice.peer, soon());
  const { keepers } = ana.overlay;
  const refusals = [shop.id, other.id, 'b'.repeat(26)].map((id: DeploymentId) =>
    assert.rejects(keepers.list(connection, id, soon()), code('PROPOSALS_REFUSED')),
  );
  await Promise.all(refusals);
  await assert.rejects(keepers.put(connection, shop.id, nextProposal(shop), soon()), code('PROPOSALS_REFUSED'));
  assert.equal(owners.waiting.size, 0);
  const version = { proof: first.proof, contract: first.bytes };
  assert.deepEqual(await keepers.take(connection, shop.id, version, soon()), { taken: true, keeper: alice.peer });
  await assert.rejects(keepers.take(connection, other.id, version, soon()), code('PROPOSALS_REFUSED'));
  assert.ok((await ana.overlay.showOwner(connection, proofOf(shop, ana, alice), soon())).ok);
  assert.deepEqual(await keepers.list(connection, shop.id, soon()), []);
  await assert.rejects(keepers.list(connection, other.id, soon()), code('PROPOSALS_REFUSED'));
});

test('an owner that a version drops loses the connection', async () => {
  const { alice, owners, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  const connection = await ana.overlay.dial(alice.overlay.addresses(), soon());
  assert.ok((await ana.overlay.showOwner(connection, proofOf(shop, ana, alice), soon())).ok);
  owners.isOwner = () => false;
  alice.overlay.viewChanged();
  await until(() => connection.closed.aborted, 'the keeper closes it');
});

test('an owner whose own request drops it gets the answer, and then nothing', async () => {
  const { alice, owners, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  const { keepers } = ana.overlay;
  const connection = await ana.overlay.dial(alice.overlay.addresses(), soon());
  assert.ok((await ana.overlay.showOwner(connection, proofOf(shop, ana, alice), soon())).ok);
  const put = owners.put.bind(owners);
  owners.put = async (...args) => {
    owners.isOwner = () => false;
    alice.overlay.viewChanged();
    return { ...(await put(...args)), applied: true };
  };
  const proposal = nextProposal(shop);
  const answer = await keepers.put(connection, shop.id, proposal, soon());
  assert.ok(answer.applied);
  assert.equal(answer.snapshot?.proof.newest.head.deployment, shop.id);
  await assert.rejects(keepers.list(connection, shop.id, soon()));
  await until(() => connection.closed.aborted, 'the keeper closes it');
});

test('one owner stands behind four connections at most, whatever machines they come from', async () => {
  const { alice, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  await using stack = new AsyncDisposableStack();
  const connections: PeerConnection[] = [];
  for (let i = 0; i < 5; i++) {
    const one = stack.use(await started());
    const connection = await one.overlay.dial(alice.overlay.addresses(), soon());
    assert.ok((await one.overlay.showOwner(connection, proofOf(shop, one, alice), soon())).ok);
    connections.push(connection);
  }
  await until(() => connections[0]?.closed.aborted === true, 'the first is given up');
  assert.deepEqual(
    connections.slice(1).map(({ closed }) => closed.aborted),
    [false, false, false, false],
  );
});

test('random bytes, oversize and silence on the doors of owners end those streams alone', async () => {
  const { alice, ana, shop } = await shopWithOwner();
  await using _ = alice;
  await using __ = ana;
  const connection = await ana.overlay.dial(alice.overlay.addresses(), soon());
  assert.ok((await ana.overlay.showOwner(connection, proofOf(shop, ana, alice), soon())).ok);
  // silent: opened and left alone
  const silent = await ana.overlay.open(connection, '/moat/proposals/1', soon());
  for (const protocol of ['/moat/join/1', '/moat/proposals/1', '/moat/receipts/1']) {
    for (const bytes of [
      randomBytes(300),
      Buffer.from('{"owner":null}'),
      Buffer.from('{"kind":"put"}'),
      Buffer.alloc(65_536, 0x20),
    ]) {
      const stream = await ana.overlay.open(connection, protocol, soon());
      await stream.write(bytes, soon());
      await assert.rejects(stream.read(soon()), code('STREAM_ENDED'));
    }
  }
  const oversize = await ana.overlay.open(connection, '/moat/proposals/1', soon());
  await oversize.write(Buffer.from(JSON.stringify({ kind: 'put', deployment: shop.id })), soon());
  assert.match(Buffer.from(await oversize.read(soon())).toString(), /ready/);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(4 * 1024 * 1024);
  await oversize.write(length, soon());
  await assert.rejects(oversize.read(soon()), code('STREAM_ENDED'));
  assert.deepEqual(await ana.overlay.keepers.list(connection, shop.id, soon()), []);
  silent.abort(new Error('enough'));
});

test('a keeper has what members did, tells a keeper that comes, and a member that asks', async () => {
  let owners: TestOwners | undefined;
  const seen = new Map<string, TestOwners>();
  const withOwners = (name: string) => (view: ConstructorParameters<typeof TestOwners>[0], self: string) => {
    const made = new TestOwners(view, self);
    seen.set(name, made);
    return made;
  };
  await using alice = await started({ owners: (view, self) => (owners = new TestOwners(view, self)) });
  await using bob = await started({ owners: withOwners('bob') });
  await using carol = await started({ owners: withOwners('carol') });
  await using dan = await started({ owners: withOwners('dan') });
  const shop = new Deployment();
  const version = shop.version({ 'alice!': alice.peer, bob: bob.peer, 'carol!': carol.peer, dan: dan.peer });
  introduce(version, alice, bob);
  await bob.overlay.connect(alice.peer, soon());
  const receipt = createReceipt(
    {
      deployment: shop.id,
      version: 0,
      head: headHash(version.proof.newest.head),
      result: 'applied',
      code: null,
      time: time(),
    },
    bob.key.signer,
  );
  bob.overlay.receipts.announce(receipt);
  await until(() => owners?.known.length === 1, 'the keeper has it');
  introduce(version, alice, carol);
  await until(() => seen.get('carol')?.known.length === 1, 'the newcomer hears of it');
  assert.deepEqual(seen.get('carol')?.known[0], receipt);
  introduce(version, alice, dan);
  await dan.overlay.connect(alice.peer, soon());
  assert.deepEqual(seen.get('dan')?.known, []);
  await dan.overlay.receipts.ask(shop.id);
  assert.deepEqual(seen.get('dan')?.known, [receipt]);
});
