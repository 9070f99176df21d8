/** What a keeper can do, and can never do (architecture.md §2): a twin that the owner pinned as one. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import {
  canonicalBytes,
  createClaim,
  createInvite,
  createOwnerProof,
  formatTime,
  headHash,
  headOf,
  witnessClaim,
  type Contract,
  type MemberClaim,
  type SignedClaim,
} from '@moat/contract';
import { toBase64url } from '@moat/core';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { randomBytes } from 'node:crypto';
import { eventually } from '../e2e/machine.ts';
import { pinned, type Place, type Version } from './pen.ts';
import { Shop, tell } from './shop.ts';
import { Twin, framed, inParts } from './twins/twin.ts';

const NAMES = ['taken', 'late', 'vacant', 'door'] as const;

suite('keeper', () => {
  let shop: Shop;
  let keeper: Twin;
  let first: Version;
  const places = {} as Record<(typeof NAMES)[number], Place>;
  const honest = ['hub', 'web', 'app'];

  before(async () => {
    keeper = await Twin.start();
    shop = await Shop.open({
      more: (opening) => {
        for (const [i, name] of NAMES.entries()) {
          places[name] = opening.pen.invited(name, 20 + i, { tags: ['guest'] }, name === 'late' ? -60_000 : 3_600_000);
        }
        return {
          members: [
            ...opening.members(),
            pinned('evil', 10, keeper.peer, { keeper: true }),
            ...NAMES.map((name) => places[name].member),
          ],
          access: [
            { from: ['app'], to: ['db', 'private'] },
            { from: ['tag:guest'], to: ['db'] },
          ],
        };
      },
    });
    keeper.view.holdVersion(shop.pen.version);
    await meet();
    first = shop.pen.version;
    await Promise.all(['laptop', 'desktop'].map((name) => shop.start(name)));
  });

  after(async () => {
    await keeper[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  async function meet(): Promise<void> {
    for (const name of honest) {
      await eventually(`${name} greets it`, async () => {
        const connection = await keeper.dial(shop.addresses[name] ?? []);
        return keeper.overlay.shared(connection).includes(shop.pen.deployment);
      });
    }
  }

  /** Shows a claim to everybody. */
  async function show(claim: MemberClaim): Promise<void> {
    const news = { deployment: shop.pen.deployment, claims: [claim] };
    for (const connection of keeper.overlay.connections()) {
      await keeper.sendRaw(connection, '/moat/heads/1', Buffer.concat([framed({ kind: 'news' }), inParts(news)]));
    }
  }

  function claimOf(
    node: NodeKey,
    member: string,
    seed: Uint8Array | null,
  ): { signed: SignedClaim; details: MemberClaim['details'] } {
    const details = { nonce: toBase64url(randomBytes(16)), member, wireguard: null };
    const inviteSigner = seed === null ? null : createInvite(seed).signer;
    const { deployment } = shop.pen;
    return { signed: createClaim({ deployment, details, nodeSigner: node.signer, inviteSigner }), details };
  }

  const witnessed = (claim: ReturnType<typeof claimOf>, timeMs: number): MemberClaim => ({
    ...witnessClaim(claim.signed, timeMs, keeper.key.signer),
    details: claim.details,
  });

  const placeAt = async (name: string, place: string) =>
    (await shop.client(name).deployment(shop.pen.deployment)).places.find((one) => one.name === place);

  test('can: witness falsely: admit the holder of a token to its vacant place though late', async () => {
    const friend = createNodeKey();
    // the invite has expired; the keeper says it saw the claim before
    await show(witnessed(claimOf(friend, 'late', places.late.seed), Date.now() - 120_000));
    for (const name of honest) {
      await eventually(`${name} believes it`, async () => (await placeAt(name, 'late'))?.peer === friend.peerId);
    }
    // but not with a time after the end, nor one that lies ahead
    const other = createNodeKey();
    await show(witnessed(claimOf(other, 'vacant', places.vacant.seed), Date.now() + 3_000_000));
    await show(witnessed(claimOf(other, 'vacant', places.vacant.seed), Date.now() + 7_200_000));
    for (const name of honest) assert.equal((await placeAt(name, 'vacant'))?.peer ?? null, null, name);
  });

  test('can: freeze a place though it is used, and no more than that', async () => {
    await shop
      .client('laptop')
      .join({ token: shop.pen.token(shop.addresses['hub'] ?? [], places.taken, shop.contract.anchors) });
    const friend = createNodeKey();
    await show(witnessed(claimOf(friend, 'taken', places.taken.seed), Date.now()));
    for (const name of honest) {
      await eventually(`${name} froze the place`, async () => (await placeAt(name, 'taken'))?.state === 'frozen');
      assert.notEqual((await placeAt(name, 'taken'))?.peer, friend.peerId, 'the second does not get it');
    }
    assert.equal(await tell(await shop.world.serviceAddress('app', 'db'), 'others go on'), 'others go on');
  });

  test('can never: admit anyone without a token', async () => {
    const friend = createNodeKey();
    const right = claimOf(friend, 'vacant', places.vacant.seed);
    const wrong = claimOf(friend, 'vacant', randomBytes(32));
    for (const forged of [
      wrong,
      // the right invite key named, signed by another
      { ...right, signed: { ...right.signed, inviteSignature: wrong.signed.inviteSignature } },
      { ...right, signed: { ...right.signed, inviteSignature: null } },
      { ...right, signed: { ...right.signed, inviteSignature: right.signed.nodeSignature } },
      // somebody else's PeerId, whose signature it does not have
      { ...right, signed: { ...right.signed, claim: { ...right.signed.claim, node: createNodeKey().peerId } } },
      // without an invite at all
      claimOf(friend, 'vacant', null),
    ]) {
      await show(witnessed(forged, Date.now()));
    }
    await nobodyNew(friend.peerId, 'vacant');
  });

  test('can never: replace a pinned member', async () => {
    const friend = createNodeKey();
    for (const member of ['web', 'app', 'hub']) {
      await show(witnessed(claimOf(friend, member, null), Date.now()));
      await show(witnessed(claimOf(friend, member, places.vacant.seed), Date.now()));
      await nobodyNew(friend.peerId, member);
      assert.equal((await placeAt('app', member))?.peer, shop.peer(member));
    }
    assert.equal(await tell(await shop.world.serviceAddress('app', 'db'), 'still web'), 'still web');
  });

  test('can never: make a version, or change one on its way', async () => {
    const version = shop.contract.version;
    const next: Contract = { ...shop.contract, version: version + 1, access: [{ from: ['evil'], to: ['db'] }] };
    // a true head of the owner, and a contract of its own behind it
    const real = shop.pen.write({ name: 'shop', access: [{ from: ['app'], to: ['db'] }] });
    keeper.view.hold({
      contract: { ...real.contract, access: next.access },
      bytes: canonicalBytes({ ...real.contract, access: next.access }),
      proof: real.proof,
    });
    const head = headOf(next, headHash(shop.pen.version.signed.head));
    for (const proof of [real.proof, { ...real.proof, newest: { head, signatures: [] } }]) {
      const news = { deployment: shop.pen.deployment, proof, claims: [] };
      for (const connection of keeper.overlay.connections()) {
        await keeper.sendRaw(connection, '/moat/heads/1', Buffer.concat([framed({ kind: 'news' }), inParts(news)]));
      }
    }
    for (const name of honest) {
      const detail = await shop.client(name).deployment(shop.pen.deployment);
      assert.equal(detail.version, version, name);
    }
    // the owner's version passes as soon as anybody honest brings it
    await shop.pen.submit(shop.client('hub'), real);
    await shop.runs(honest);
  });

  test('can: delay or withhold news, which passes by everybody else', async () => {
    keeper.view.follows = false;
    const told = keeper.view.heard.length;
    await shop.apply({ access: [{ from: ['app'], to: ['db', 'private'] }] }, honest);
    await eventually('it was told too', async () => keeper.view.heard.length > told);
  });

  test('can never: give a machine that joins another deployment, or an older version than its token', async () => {
    const token = shop.pen.token([keeper.address], places.door, []);
    const old = shop.pen.version;
    const witness = (request: { signed: SignedClaim; details: MemberClaim['details'] }): MemberClaim =>
      witnessed(request, Date.now());
    const tampered = { ...old.contract, members: old.contract.members, access: [{ from: ['evil'], to: ['db'] }] };
    for (const [proof, contract] of [
      [old.proof, tampered],
      [{ ...old.proof, newest: { ...old.proof.newest, signatures: [] } }, old.contract],
      [first.proof, first.contract],
    ] as const) {
      keeper.view.onJoin = (request) => ({
        ok: true,
        claim: witness(request),
        proof,
        contract: canonicalBytes(contract),
        claims: [],
      });
      await assert.rejects(shop.client('desktop').join({ token }), {
        code: /^(JOIN_UNVERIFIED|INVITE_UNKNOWN)$/,
      });
    }
    assert.deepEqual(await shop.client('desktop').deployments(), [], 'nothing was taken');
  });

  test('can never: be the owner elsewhere by a proof that an owner showed it', async () => {
    const [ana] = shop.pen.seats;
    assert.ok(ana);
    const owner = await Twin.start();
    const fields = { deployment: shop.pen.deployment, time: formatTime(Date.now()) };
    const shown = createOwnerProof({ ...fields, dialer: owner.peer, keeper: keeper.peer }, ana.key.signer);
    const refused = async (from: Twin, signed: object): Promise<void> => {
      const connection = await from.dial(shop.addresses['hub'] ?? []);
      const { answer } = await from.sendRaw(connection, '/moat/join/1', framed({ owner: signed }));
      assert.ok(!answer.includes('"ok":true'), answer.toString());
    };
    // as it is, under its own name, and with the keeper changed
    await refused(keeper, shown);
    await refused(keeper, { ...shown, proof: { ...shown.proof, dialer: keeper.peer } });
    await refused(keeper, { ...shown, proof: { ...shown.proof, keeper: shop.peer('hub') } });
    // nor does a proof that is old, or lies ahead, open the door for the owner itself
    for (const offsetMs of [-600_000, 600_000]) {
      const time = formatTime(Date.now() + offsetMs);
      const proof = { ...fields, time, dialer: owner.peer, keeper: shop.peer('hub') };
      await refused(owner, createOwnerProof(proof, ana.key.signer));
    }
    await owner[Symbol.asyncDispose]();
  });

  async function nobodyNew(peer: string, place: string): Promise<void> {
    for (const name of honest) {
      const detail = await shop.client(name).deployment(shop.pen.deployment);
      assert.ok(!detail.places.some((one) => one.peer === peer), `${name}: ${place}`);
      assert.equal(detail.version, shop.contract.version);
    }
  }
});
