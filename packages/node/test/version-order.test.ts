import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError, isMoatError, silentLogger, type PeerConnection, type PeerId } from '@moat/core';
import { extendProof, headOf, signHead, type Contract, type HeadProof, type Member } from '@moat/contract';
import { createNodeKey, createOwnerKey } from '@moat/identity';
import type { ShownVersion, TakeAnswer } from '@moat/overlay';
import { Deployment } from '../src/deployments/deployment.ts';
import type { Deployments } from '../src/deployments/deployments.ts';
import { checkShown } from '../src/owners/signed-version.ts';
import { VersionOrder } from '../src/owners/version-order.ts';
import { Chain } from './chain.ts';

/** What a keeper of the test answers; `away` = it is not in reach. */
type Says = 'away' | ((shown: ShownVersion) => TakeAnswer | MoatError);

/** A member's machine in a network of two keepers, `a` and `b`, that answer as told. */
function begin(says: Readonly<Record<'a' | 'b', Says>>): {
  readonly chain: Chain;
  readonly taken: number[];
  readonly asked: string[];
  readonly apply: (contract: Contract, proof: HeadProof, offline?: boolean) => Promise<PeerId | null>;
  readonly peers: Readonly<Record<'a' | 'b', PeerId>>;
} {
  const keys = { a: createNodeKey(), b: createNodeKey(), self: createNodeKey() };
  const peers = { a: keys.a.peerId, b: keys.b.peerId };
  const chain = new Chain(keys.a);
  const members: Member[] = [
    { name: 'a', node: peers.a, ipv4: '10.77.0.2', tags: [], keeper: true },
    { name: 'b', node: peers.b, ipv4: '10.77.0.3', tags: [], keeper: true },
    { name: 'laptop', node: keys.self.peerId, ipv4: '10.77.0.4', tags: [] },
  ];
  const { proof, contract } = chain.next({ members });
  const stored = { id: contract.deployment, proof, contract, acceptedAt: 0, claims: [], forks: [] };
  const deployment = new Deployment({ ...stored, age: { ageMs: 0, at: 0 } }, keys.self.peerId, 0);
  const [taken, asked]: [number[], string[]] = [[], []];
  const nameOf = (peer: PeerId): 'a' | 'b' => (peer === peers.a ? 'a' : 'b');
  const order = new VersionOrder({
    self: keys.self.peerId,
    deployments: {
      adopt: (_: PeerId, next: { readonly contract: Contract }) => {
        taken.push(next.contract.version);
        return deployment;
      },
    } as unknown as Deployments,
    keepers: {
      take: async ({ peer }, _, shown) => {
        const say = says[nameOf(peer)];
        asked.push(nameOf(peer));
        assert.ok(say !== 'away');
        const answer = say(shown);
        if (answer instanceof MoatError) throw answer;
        return answer;
      },
    },
    reach: async (_, peer) => {
      if (says[nameOf(peer)] === 'away') throw new MoatError('PEER_UNREACHABLE', 'away', { retryable: true });
      return { peer } as PeerConnection;
    },
    logger: silentLogger,
  });
  return {
    chain,
    taken,
    asked,
    peers,
    apply: (next, { newest }, offline = false) =>
      order.apply(deployment, [{ contract: next, signed: newest }], { offline, signal: AbortSignal.timeout(5000) }),
  };
}

const yes =
  (keeper: () => PeerId): Says =>
  () => ({ taken: true, keeper: keeper() });

test('the first keeper by name decides; the second is not asked', async () => {
  const world = begin({ a: yes(() => world.peers.a), b: yes(() => world.peers.b) });
  const { contract, proof } = world.chain.next({ ...members(world.chain), name: 'next' }, { keep: false });
  assert.equal(await world.apply(contract, proof), world.peers.a);
  assert.deepEqual([world.asked, world.taken], [['a'], [1]]);
});

test('one that is away, or answers anything but yes, is passed over', async () => {
  for (const says of [
    'away',
    () => new MoatError('QUORUM_MISSING', 'no'),
    () => new MoatError('DISK_FULL', 'no'),
  ] as Says[]) {
    const world = begin({ a: says, b: yes(() => world.peers.b) });
    const { contract, proof } = world.chain.next({ ...members(world.chain), name: 'next' }, { keep: false });
    assert.equal(await world.apply(contract, proof), world.peers.b);
  }
});

test('with none in reach nothing is taken, unless it is said', async () => {
  const world = begin({ a: 'away', b: () => new MoatError('DEADLINE_PASSED', 'no') });
  const { contract, proof } = world.chain.next({ ...members(world.chain), name: 'next' }, { keep: false });
  await assert.rejects(world.apply(contract, proof), (error) => isMoatError(error, 'NO_KEEPER_REACHABLE'));
  assert.deepEqual(world.taken, []);
  assert.equal(await world.apply(contract, proof, true), null);
  assert.deepEqual(world.taken, [1]);
});

test('another version that the owners signed is a conflict, and nothing is taken', async () => {
  const world = begin({ a: () => ({ taken: false, proof: other.proof }), b: yes(() => world.peers.b) });
  const other = world.chain.next({ ...members(world.chain), name: 'other' }, { keep: false });
  const { contract, proof } = world.chain.next({ ...members(world.chain), name: 'next' }, { keep: false });
  await assert.rejects(world.apply(contract, proof), (error) => isMoatError(error, 'VERSION_CONFLICT'));
  assert.deepEqual([world.asked, world.taken], [['a'], []]);
});

test('a hostile keeper cannot forbid a version: what it shows has to be signed, newer and another', async () => {
  const shows: ((world: ReturnType<typeof begin>, mine: HeadProof) => HeadProof)[] = [
    // what everybody had before
    ({ chain }) => chain.proof ?? assert.fail(),
    // signed by somebody else
    ({ chain }) => {
      const { contract } = chain.next({ ...members(chain), name: 'forged' }, { keep: false });
      const head = headOf(contract, chain.head);
      const signatures = [signHead(head, createOwnerKey().signer)];
      return extendProof(chain.proof, chain.genesis, { head, signatures }, contract.owners);
    },
    // of another deployment
    ({ chain }) => new Chain(chain.keeper).next().proof,
  ];
  for (const show of shows) {
    const world = begin({ a: () => ({ taken: false, proof: show(world, mine.proof) }), b: yes(() => world.peers.b) });
    const mine = world.chain.next({ ...members(world.chain), name: 'next' }, { keep: false });
    assert.equal(await world.apply(mine.contract, mine.proof), world.peers.b);
    assert.deepEqual([world.asked, world.taken], [['a', 'b'], [1]]);
  }
  // or it is the very version that was shown: then it has it
  const world = begin({ a: ({ proof }) => ({ taken: false, proof }), b: 'away' });
  const mine = world.chain.next({ ...members(world.chain), name: 'next' }, { keep: false });
  assert.equal(await world.apply(mine.contract, mine.proof), world.peers.a);
});

test('the contract of a version that nobody signed is not even read', () => {
  const chain = new Chain(createNodeKey());
  const { proof, contract } = chain.next();
  const stored = { id: contract.deployment, proof, contract, acceptedAt: 0, claims: [], forks: [] };
  const deployment = new Deployment({ ...stored, age: { ageMs: 0, at: 0 } }, chain.keeper.peerId, 0);
  const next = chain.next();
  const unsigned = { ...next.proof, newest: { ...next.proof.newest, signatures: [] } };
  const shown = { proof: unsigned, contract: Buffer.from('{') };
  assert.throws(() => checkShown(deployment, shown), { code: 'QUORUM_MISSING' });
  assert.throws(() => checkShown(deployment, { ...shown, proof: next.proof }), { code: 'CONTRACT_INVALID' });
});

function members({ contract }: Chain): Pick<Contract, 'members'> {
  return { members: contract?.members ?? [] };
}
