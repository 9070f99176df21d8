/** What a member can do, and can never do (architecture.md §2): a twin that holds a place and wants more. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { errorCode } from '@moat/core';
import {
  createClaim,
  createInvite,
  headHash,
  headOf,
  signHead,
  witnessClaim,
  type Contract,
  type MemberClaim,
  type SignedClaim,
} from '@moat/contract';
import { createNodeKey, createOwnerKey } from '@moat/identity';
import { eventually } from '../e2e/machine.ts';
import { Pen, asDocument, pinned, type Place } from './pen.ts';
import { Shop, tell } from './shop.ts';
import { Twin, framed, inParts, unframed } from './twins/twin.ts';

suite('member node', () => {
  let shop: Shop;
  let mallory: Twin;
  let vacant: Place;

  before(async () => {
    mallory = await Twin.start();
    shop = await Shop.open({
      more: (opening) => {
        vacant = opening.pen.invited('laptop', 20);
        return {
          members: [...opening.members(), pinned('mallory', 10, mallory.peer), vacant.member],
          access: [
            { from: ['app'], to: ['db', 'private'] },
            { from: ['mallory'], to: ['web'] },
          ],
        };
      },
    });
    // the twin is pinned: it holds the version and meets the others as a member does
    mallory.view.holdVersion(shop.pen.version);
    for (const name of ['hub', 'web', 'app']) {
      await eventually(`${name} greets the twin`, async () => {
        const connection = await mallory.dial(shop.addresses[name] ?? []);
        return mallory.overlay.shared(connection).includes(shop.pen.deployment);
      });
    }
  });

  after(async () => {
    await mallory[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  /** The answer to a stream, or why there is not even a link. */
  async function ask(member: string, service: string, kind: 'http' | 'tcp' = 'tcp', deployment = shop.pen.deployment) {
    try {
      return await mallory.ask(await mallory.link(shop.peer(member)), { deployment, service, kind });
    } catch (error) {
      return errorCode(error);
    }
  }

  test("can: read its deployment's contract and reach what its grants allow", async () => {
    assert.equal(await ask('web', 'web', 'http'), '200');
    const connection = mallory.overlay.connections(shop.peer('hub'))[0];
    assert.ok(connection);
    const { deployment } = shop.pen;
    const { answer } = await mallory.sendRaw(
      connection,
      '/moat/heads/1',
      framed({ kind: 'pull', deployment, version: 0 }),
    );
    assert.equal(String(unframed(answer)[0]), '{"found":true}');
  });

  test('can never: reach a service it has no grant for', async () => {
    const came = [shop.db.came, shop.private.came];
    assert.equal(await ask('web', 'db'), 'GRANT_DENIED');
    assert.equal(await ask('web', 'private'), 'GRANT_DENIED');
    assert.equal(await ask('app', 'db'), 'LINK_REFUSED', 'nor through somebody who has the grant');
    assert.match(await ask('web', 'web', 'http', 'b'.repeat(26)), /^(DEPLOYMENT_UNKNOWN|GRANT_DENIED)$/);
    assert.deepEqual([shop.db.came, shop.private.came], came);
  });

  test('can never: reach it by a version of the contract that it made itself', async () => {
    const { contract, signed, proof } = shop.pen.version;
    const next: Contract = {
      ...contract,
      version: contract.version + 1,
      access: [{ from: ['mallory'], to: ['db'] }],
    };
    const head = headOf(next, headHash(signed.head));
    const own = createOwnerKey();
    for (const signatures of [
      [],
      signed.signatures,
      [signHead(head, own.signer)],
      [{ key: shop.pen.seats[0]?.key.key ?? '', signature: signHead(head, own.signer).signature }],
    ]) {
      const news = { deployment: next.deployment, proof: { ...proof, newest: { head, signatures } }, claims: [] };
      for (const connection of mallory.overlay.connections()) {
        await mallory.sendRaw(connection, '/moat/heads/1', Buffer.concat([framed({ kind: 'news' }), inParts(news)]));
      }
      await assert.rejects(
        shop
          .client('web')
          .submitVersion(next.deployment, { contract: asDocument(next), signed: asDocument({ head, signatures }) }),
        { code: /^(HEAD_FORGED|QUORUM_MISSING)$/ },
      );
    }
    await everyoneStillRuns(contract.version);
    assert.equal(await ask('web', 'db'), 'GRANT_DENIED');
  });

  test('can never: add members', async () => {
    // it witnesses a claim although it is no keeper, and shows it around
    const friend = createNodeKey();
    const details = { nonce: 'A'.repeat(22), member: 'laptop', wireguard: null };
    const { deployment } = shop.pen;
    const stranger: SignedClaim = createClaim({
      deployment,
      details,
      nodeSigner: friend.signer,
      inviteSigner: createInvite(vacant.seed).signer,
    });
    const forged: MemberClaim[] = [
      { ...witnessClaim(stranger, Date.now(), mallory.key.signer), details },
      { ...witnessClaim(stranger, Date.now(), mallory.key.signer), details, keeper: shop.peer('hub') },
      // a claim on a place that has no invite, and one that names another's place
      ...['web', 'app'].map((member): MemberClaim => {
        const named = { ...details, member };
        const signed = createClaim({ deployment, details: named, nodeSigner: friend.signer, inviteSigner: null });
        return { ...witnessClaim(signed, Date.now(), mallory.key.signer), details: named, keeper: shop.peer('hub') };
      }),
    ];
    for (const claim of forged) {
      for (const connection of mallory.overlay.connections()) {
        const news = { deployment, claims: [claim] };
        await mallory.sendRaw(connection, '/moat/heads/1', Buffer.concat([framed({ kind: 'news' }), inParts(news)]));
      }
    }
    await everyoneStillRuns(0);
    for (const name of ['hub', 'web', 'app']) {
      const { places, claims } = await shop.client(name).deployment(deployment);
      assert.equal(claims.length, 0, name);
      const place = places.find((one) => one.name === 'laptop');
      assert.notEqual(place?.peer, friend.peerId, name);
    }
  });

  test('can never: pose as another member', async () => {
    // a claim for another machine, brought over its own connection
    const details = { nonce: 'A'.repeat(22), member: 'laptop', wireguard: null };
    const victim = createNodeKey();
    const signed = createClaim({
      deployment: shop.pen.deployment,
      details,
      nodeSigner: victim.signer,
      inviteSigner: createInvite(vacant.seed).signer,
    });
    const request = { signed, details };
    const answer = await mallory.overlay.requestJoin(shop.addresses['hub'] ?? [], request, AbortSignal.timeout(10_000));
    assert.equal(!answer.ok && answer.code, 'JOIN_REFUSED');
    // an app that dials the real member and a machine that listens in its place: the key decides
    await using impostor = await Twin.start();
    await using caller = await Twin.start();
    const place = shop.addresses['web']?.[0] ?? '';
    const lie = `${impostor.address.split('/p2p/')[0]}/p2p/${place.split('/p2p/')[1]}`;
    await assert.rejects(caller.dial([lie]), { code: 'PEER_UNREACHABLE' });
    assert.equal(impostor.overlay.connections().length, 0);
  });

  test("can never: speak in another member's name on a link", async () => {
    // what a link carries is judged by whose link it is; nothing in an open frame says who asks
    assert.equal(await ask('web', 'db'), 'GRANT_DENIED');
    const db = await shop.world.serviceAddress('app', 'db');
    assert.equal(await tell(db, 'granted'), 'granted');
    assert.equal(await ask('web', 'db'), 'GRANT_DENIED', 'also after the granted one has asked');
  });

  test('can never: learn of other deployments', async () => {
    const other = new Pen();
    await other.apply(shop.client('hub'), {
      name: 'zoo',
      members: [pinned('hub', 2, shop.peer('hub'), { keeper: true }), pinned('web', 3, shop.peer('web'))],
    });
    await shop.client('web').join({ token: other.token(shop.addresses['hub'] ?? []), waitMs: 10_000 });
    const connection = mallory.overlay.connections(shop.peer('hub'))[0];
    assert.ok(connection);
    const say = async (protocol: string, ...messages: object[]): Promise<string[]> =>
      unframed((await mallory.sendRaw(connection, protocol, framed(...messages))).answer).map(String);
    const pull = (deployment: string) => say('/moat/heads/1', { kind: 'pull', deployment, version: 0 });
    assert.deepEqual(await pull(other.deployment), await pull('c'.repeat(26)), 'as if there were none');
    const compare = async (deployment: string): Promise<string[]> => {
      const summary = inParts({ version: null, head: null, claims: [] });
      const bytes = Buffer.concat([framed({ kind: 'compare', deployment }), summary]);
      return unframed((await mallory.sendRaw(connection, '/moat/heads/1', bytes)).answer).map(String);
    };
    assert.deepEqual(await compare(other.deployment), await compare('c'.repeat(26)));
    const hello = Buffer.from(JSON.stringify({ deployments: [other.deployment] }).padEnd(1024));
    const told = unframed((await mallory.sendRaw(connection, '/moat/hello/1', framed(hello))).answer);
    const named = JSON.parse(String(told[0])) as { deployments: string[] };
    assert.deepEqual(named.deployments, [shop.pen.deployment], 'hello names what both share, and nothing else');
    // web is in both: a stream for the one it shares with the twin is judged, one for the other is as for none
    assert.equal(await ask('web', 'web', 'http', other.deployment), await ask('web', 'web', 'http', 'c'.repeat(26)));
  });

  /** Nothing the twin did changed anything, and honest machines go on. */
  async function everyoneStillRuns(version: number): Promise<void> {
    for (const name of ['hub', 'web', 'app']) {
      const detail = await shop.client(name).deployment(shop.pen.deployment);
      assert.equal(detail.version, version, name);
      assert.equal(detail.state, 'active', name);
    }
    assert.equal(await tell(await shop.world.serviceAddress('app', 'db'), 'honest'), 'honest');
  }
});
