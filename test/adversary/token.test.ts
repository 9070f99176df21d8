/** What the thief of a token can do, and can never do (architecture.md §2). */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { createInvite, encodeToken, headHash, headOf, parseToken, signHead, type Contract } from '@moat/contract';
import { isMoatError } from '@moat/core';
import { eventually } from '../e2e/machine.ts';
import { Pen, asDocument, pinned, type Place } from './pen.ts';
import { Shop } from './shop.ts';
import { Twin } from './twins/twin.ts';

const NAMES = ['first', 'second', 'late', 'withdrawn', 'split'] as const;

suite('thief of a token', () => {
  let shop: Shop;
  let thief: Twin;
  const places = {} as Record<(typeof NAMES)[number], Place>;

  before(async () => {
    thief = await Twin.start();
    shop = await Shop.open({
      machines: ['vault'],
      more: (opening) => {
        for (const [i, name] of NAMES.entries()) {
          places[name] = opening.pen.invited(name, 20 + i, { tags: ['guest'] }, name === 'late' ? -1000 : 3_600_000);
        }
        const members = opening
          .members()
          .map((member) => (member.name === 'vault' ? { ...member, keeper: true as const } : member));
        return {
          members: [...members, ...NAMES.map((name) => places[name].member)],
          access: [{ from: ['tag:guest'], to: ['db'] }],
        };
      },
    });
    await Promise.all(['laptop', 'desktop'].map((name) => shop.start(name)));
  });

  after(async () => {
    await thief[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  const token = (place: Place, keepers = shop.addresses['hub'] ?? []): string =>
    shop.pen.token(keepers, place, shop.contract.anchors);
  const take = async (place: Place): Promise<string> => {
    const answer = await thief.join(token(place));
    return answer.ok ? 'ok' : answer.code;
  };
  const placeAt = async (name: string, place: string) =>
    (await shop.client(name).deployment(shop.pen.deployment)).places.find((one) => one.name === place);

  test('can never: take the place after the rightful machine did', async () => {
    await shop.client('laptop').join({ token: token(places.first) });
    assert.equal(await take(places.first), 'INVITE_USED');
    // at the other keeper as well, once it has heard
    await eventually(
      'the other keeper knows',
      async () => (await placeAt('vault', 'first'))?.peer === shop.peer('laptop'),
    );
    const answer = await thief.join(token(places.first), shop.addresses['vault']);
    assert.equal(!answer.ok && answer.code, 'INVITE_USED');
    assert.equal((await placeAt('web', 'first'))?.peer, shop.peer('laptop'));
    assert.deepEqual(thief.view.deployments(), [], 'it learned nothing');
  });

  test('can: take the vacant place it is for, once', async () => {
    assert.equal(await take(places.second), 'ok');
    await assert.rejects(shop.client('desktop').join({ token: token(places.second) }), { code: 'INVITE_USED' });
    assert.equal((await placeAt('hub', 'second'))?.peer, thief.peer, 'the owner sees who took it');
    // and the owner takes it back with the next version
    await shop.apply({ members: shop.contract.members.filter(({ name }) => name !== 'second') });
    await eventually('the thief is out', async () =>
      thief.overlay.connections(shop.peer('hub')).every(({ closed }) => closed.aborted),
    );
  });

  test('can never: take it after it expired, or after a version withdrew it', async () => {
    // whoever holds a place already is told so; this one comes with clean hands
    await thief[Symbol.asyncDispose]();
    thief = await Twin.start();
    assert.equal(await take(places.late), 'INVITE_EXPIRED');
    await shop.apply({ members: shop.contract.members.filter(({ name }) => name !== 'withdrawn') });
    assert.equal(await take(places.withdrawn), 'JOIN_REFUSED');
  });

  test('can never: anything else: no other place, no other deployment, no version, no other door', async () => {
    const refused = async (text: string, keepers?: readonly string[]): Promise<void> => {
      const code = await thief.join(text, keepers).then(
        (answer) => (answer.ok ? 'ok' : answer.code),
        (error: unknown) => (isMoatError(error) ? error.code : String(error)),
      );
      assert.match(code, /^(JOIN_REFUSED|NO_KEEPER_REACHABLE)$/);
    };
    const held = parseToken(token(places.split));
    for (const member of ['web', 'app', 'first', 'nobody', 'hub']) await refused(encodeToken({ ...held, member }));
    await refused(encodeToken({ ...held, deployment: 'd'.repeat(26) }));
    const zoo = new Pen();
    const stable = zoo.invited('split', 20);
    await zoo.apply(shop.client('hub'), { name: 'zoo', members: [...shop.members().slice(0, 1), stable.member] });
    await refused(encodeToken({ ...held, deployment: zoo.deployment }));
    // only a pinned keeper witnesses
    for (const name of ['web', 'app', 'laptop']) await refused(token(places.split), shop.addresses[name]);
    // the seed signs a claim, never a version
    const seat = createInvite(places.split.seed);
    const next: Contract = { ...shop.contract, version: shop.contract.version + 1 };
    const head = headOf(next, headHash(shop.pen.version.signed.head));
    const signed = { head, signatures: [signHead(head, seat.signer)] };
    await assert.rejects(
      shop.client('hub').submitVersion(next.deployment, { contract: asDocument(next), signed: asDocument(signed) }),
      { code: /^(QUORUM_MISSING|HEAD_FORGED)$/ },
    );
    assert.equal((await placeAt('hub', 'split'))?.peer ?? null, null, 'the place is vacant still');
  });

  test('used at two keepers in a partition, the place is nobody’s until the next version decides', async () => {
    // the rightful machine at one keeper while the other is away, the thief at the other while the first is
    await shop.world.agent('vault').kill();
    await shop.client('desktop').join({ token: token(places.split) });
    await shop.world.agent('hub').kill();
    await shop.world.agent('desktop').kill();
    for (const name of ['web', 'app', 'laptop']) await shop.world.agent(name).kill();
    await shop.world.restart('vault');
    assert.equal((await thief.join(token(places.split), shop.addresses['vault'])).ok, true);
    for (const name of ['hub', 'web', 'app']) await shop.world.restart(name);
    for (const name of ['hub', 'vault', 'web', 'app']) {
      await eventually(
        `${name} froze the place`,
        async () => (await placeAt(name, 'split'))?.state === 'frozen',
        30_000,
      );
    }
    const link = await thief.link(shop.peer('web')).catch((error: unknown) => error);
    assert.ok(isMoatError(link), 'the thief has no grant left');
    await shop.world.restart('desktop');
    await shop.apply(
      {
        members: shop.contract.members.map((member) =>
          member.name === 'split' ? pinned('split', 24, shop.peer('desktop'), { tags: ['guest'] }) : member,
        ),
      },
      ['hub', 'vault', 'web'],
    );
    assert.equal((await placeAt('web', 'split'))?.peer, shop.peer('desktop'));
  });
});
