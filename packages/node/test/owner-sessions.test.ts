import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError, silentLogger, type PeerConnection, type PeerId } from '@moat/core';
import { canonicalBytes, createOwnerProof, encodeToken } from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import { createMemoryAddressBook, type OwnerAnswer, type Snapshot } from '@moat/overlay';
import { createManualClock, type ManualClock } from '@moat/testkit';
import { Deployment } from '../src/deployments/deployment.ts';
import type { Deployments } from '../src/deployments/deployments.ts';
import { Guests } from '../src/owners/guests.ts';
import { OwnerSessions } from '../src/owners/owner-sessions.ts';
import { Chain } from './chain.ts';

const ADDRESS = '/ip4/192.0.2.1/tcp/4410';

class World {
  readonly clock: ManualClock = createManualClock(Date.UTC(2026, 10, 20));
  readonly book = createMemoryAddressBook();
  readonly held = new Map<string, Deployment>();
  /** Deployments whose session was given back to the keeper. */
  readonly withdrawn: string[] = [];
  readonly located: string[] = [];
  readonly closers: AbortController[] = [];
  /** What keepers answer to a proof; undefined = what belongs to it. */
  answer: OwnerAnswer | undefined;
  /** Multiaddrs the keeper says of all keepers. */
  keepers: readonly string[] = [];
  readonly chains = new Map<string, Chain>();
  readonly sessions: OwnerSessions;

  constructor() {
    const self = createNodeKey().peerId;
    this.sessions = new OwnerSessions({
      self,
      overlay: {
        dial: async (addresses) => this.#connection(addresses[0]?.split('/').at(-1) ?? ''),
        connect: async (peer) => this.#connection(peer),
        showOwner: async (_, { proof }) => this.answer ?? this.#yes(proof.deployment),
        withdraw: (_, reason) => this.withdrawn.push(reason),
      },
      deployments: {
        get: (id: string) => this.held.get(id),
        adopt: (_: PeerId, { proof, contract }: ReturnType<Chain['next']>) => {
          const stored = { id: contract.deployment, proof, contract, acceptedAt: 0, claims: [], forks: [] };
          const made = new Deployment({ ...stored, age: { ageMs: 0, at: 0 } }, self, 0);
          this.held.set(made.id, made);
          return made;
        },
      } as unknown as Deployments,
      addressBook: { ...this.book, flush: () => undefined },
      guests: new Guests({ store: { locators: () => new Map(), saveLocator: (id) => this.located.push(id) } }),
      clock: this.clock,
      logger: silentLogger,
    });
  }

  /** A locator of a new deployment. */
  locator(): { readonly chain: Chain; readonly text: string } {
    const chain = new Chain(createNodeKey());
    const { contract } = chain.next();
    this.chains.set(contract.deployment, chain);
    const keepers = [`${ADDRESS}/p2p/${chain.keeper.peerId}`];
    const text = encodeToken({ deployment: contract.deployment, version: 0, head: chain.head, keepers, anchors: [] });
    return { chain, text };
  }

  async open({ chain, text }: ReturnType<World['locator']>): ReturnType<OwnerSessions['open']> {
    const signal = AbortSignal.timeout(5000);
    const { id, deployment, keeper, time } = await this.sessions.challengeByLocator(text, signal);
    const fields = { deployment, dialer: createNodeKey().peerId, keeper: keeper ?? '', time };
    return this.sessions.open(id ?? '', createOwnerProof(fields, chain.owner.signer), signal);
  }

  #yes(deployment: string): OwnerAnswer {
    const chain = this.chains.get(deployment);
    assert.ok(chain !== undefined);
    return { ok: true, owner: chain.owner.key, snapshot: { ...snapshotOf(chain), keepers: this.keepers } };
  }

  #connection(peer: PeerId): PeerConnection {
    const closer = new AbortController();
    this.closers.push(closer);
    return { id: String(this.closers.length), peer, closed: closer.signal } as PeerConnection;
  }
}

const code =
  (expected: string) =>
  (error: unknown): boolean =>
    isMoatError(error, expected);

function snapshotOf({ proof, contract }: Chain): Snapshot {
  assert.ok(proof !== null && contract !== null);
  return { proof, contract: canonicalBytes(contract), claims: [], keepers: [] };
}

function heldOf(world: World, id: string): Deployment {
  return world.held.get(id) ?? assert.fail();
}

test('a session ends five minutes after its last use, with its connection, or when it is closed', async () => {
  const world = new World();
  const { deployment, id } = await world.open(world.locator());
  const held = heldOf(world, deployment);
  assert.deepEqual(world.located, [deployment]);
  world.clock.advance(299_000);
  assert.equal(
    world.sessions.connection(held).id,
    world.sessions.leadsTo(deployment, held.contract.members[0]?.node ?? '')?.id,
  );
  world.clock.advance(299_000);
  assert.deepEqual(world.withdrawn, []);
  world.clock.advance(1000);
  assert.deepEqual(world.withdrawn, [`owner:${deployment}`]);
  assert.throws(() => world.sessions.connection(held), code('OWNER_SESSION_NEEDED'));
  assert.throws(() => world.sessions.close(id), code('OWNER_SESSION_UNKNOWN'));

  const again = world.locator();
  const second = await world.open(again);
  world.closers.at(-1)?.abort();
  assert.throws(() => world.sessions.connection(heldOf(world, second.deployment)), code('OWNER_SESSION_NEEDED'));
  const third = await world.open(again);
  world.sessions.close(third.id);
  assert.throws(() => world.sessions.connection(heldOf(world, third.deployment)), code('OWNER_SESSION_NEEDED'));
  assert.equal(world.clock.pending, 0);
});

test('of nine sessions the one used longest ago gives way', async () => {
  const world = new World();
  const opened = [];
  for (let i = 0; i < 8; i++) opened.push((await world.open(world.locator())).deployment);
  const [first = '', second = ''] = opened;
  world.sessions.connection(heldOf(world, first));
  await world.open(world.locator());
  assert.doesNotThrow(() => world.sessions.connection(heldOf(world, first)));
  assert.throws(() => world.sessions.connection(heldOf(world, second)), code('OWNER_SESSION_NEEDED'));
});

test('a challenge counts once and for two minutes, and never twice with the same time', async () => {
  const world = new World();
  const { chain, text } = world.locator();
  const signal = AbortSignal.timeout(5000);
  const asked = await world.sessions.challengeByLocator(text, signal);
  const other = await world.sessions.challengeByLocator(text, signal);
  assert.notEqual(asked.time, other.time);
  const fields = {
    deployment: asked.deployment,
    dialer: chain.keeper.peerId,
    keeper: asked.keeper ?? '',
    time: asked.time,
  };
  const signed = createOwnerProof(fields, chain.owner.signer);
  await world.sessions.open(asked.id ?? '', signed, signal);
  await assert.rejects(world.sessions.open(asked.id ?? '', signed, signal), code('CHALLENGE_UNKNOWN'));
  world.clock.advance(120_001);
  await assert.rejects(world.sessions.open(other.id ?? '', signed, signal), code('CHALLENGE_UNKNOWN'));
});

test('what a keeper answers is held against the locator, and what it says of the others replaces nothing', async () => {
  const world = new World();
  const [one, two] = [world.locator(), world.locator()];
  // another deployment than the one asked for
  world.answer = { ok: true, owner: one.chain.owner.key, snapshot: snapshotOf(two.chain) };
  await assert.rejects(world.open(one), code('JOIN_UNVERIFIED'));
  assert.deepEqual([world.held.size, world.located.length, world.withdrawn.length], [0, 0, 1]);
  world.answer = { ok: false, code: 'JOIN_REFUSED', message: 'no\u001b[2J' };
  await assert.rejects(
    world.open(one),
    (error) => isMoatError(error, 'OWNER_REFUSED') && !error.message.includes('\u001b'),
  );

  world.answer = undefined;
  const [known, unknown] = [createNodeKey().peerId, createNodeKey().peerId];
  world.book.learn(known, ['/ip4/192.0.2.7/tcp/1']);
  world.keepers = [`/ip4/203.0.113.1/tcp/1/p2p/${known}`, `/ip4/203.0.113.2/tcp/1/p2p/${unknown}`];
  await world.open(one);
  assert.deepEqual(world.book.known(known), ['/ip4/192.0.2.7/tcp/1']);
  assert.deepEqual(world.book.known(unknown), ['/ip4/203.0.113.2/tcp/1']);
});
