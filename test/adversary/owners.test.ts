/** What a quorum of owners can never do, and owners below the threshold (architecture.md §2). */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { mergeProposals, proposalId, proposalOf, signProposal, type Contract } from '@moat/contract';
import { errorCode } from '@moat/core';
import { Pen, asDocument, ownersOf, pinned, seat, type Seat, type Version } from './pen.ts';
import { Shop, startEcho, tell, type Echo } from './shop.ts';
import { Twin, framed, inParts } from './twins/twin.ts';

suite('quorum of owners', () => {
  let shop: Shop;
  let ssh: Echo;

  before(async () => {
    ssh = await startEcho();
    shop = await Shop.open({ seats: [seat('ana'), seat('bob'), seat('eve')], threshold: 2 });
  });

  after(async () => {
    await shop[Symbol.asyncDispose]();
    await ssh[Symbol.asyncDispose]();
  });

  const two = (): Seat[] => shop.pen.seats.slice(0, 2);

  test('can: everything in their own deployment: two of three grant, take back and end it', async () => {
    const db = await shop.world.serviceAddress('app', 'db');
    assert.equal(await tell(db, 'granted'), 'granted');
    await shop.apply({ access: [] }, undefined, two());
    assert.notEqual(await tell(db, 'denied'), 'denied');
    await shop.apply({ access: [{ from: ['app'], to: ['db', 'private', 'web'] }] }, undefined, two());
    assert.equal(await tell(await shop.world.serviceAddress('app', 'db'), 'again'), 'again');
  });

  test('can never: reach a port on a node that its operator did not expose to this deployment', async () => {
    const came = [shop.private.came, ssh.came];
    const { access } = shop.contract;
    for (const target of [
      `127.0.0.1:${ssh.port}`,
      `localhost:${ssh.port}`,
      `[::1]:${ssh.port}`,
      `[::ffff:127.0.0.1]:${ssh.port}`,
      `127.0.0.2:${shop.db.port}`,
    ]) {
      const services = shop.contract.services.map((service) =>
        service.name === 'private' ? { ...service, target } : service,
      );
      await shop.apply({ services, access }, undefined, two());
      await assert.rejects(shop.client('app').ping(shop.pen.deployment, { target: 'private' }), {
        code: 'NOT_EXPOSED',
      });
    }
    assert.deepEqual([shop.private.came, ssh.came], came, 'nobody came');
  });

  test("can never: reach Moat's own sockets, whatever the contract names", async () => {
    const status = await shop.client('web').status();
    const own = [/tcp\/(\d+)/.exec(status.addresses[0] ?? '')?.[1], status.linkPort, status.socks?.port];
    for (const port of own) {
      const services = shop.contract.services.map((service) =>
        service.name === 'private' ? { ...service, target: `127.0.0.1:${port}` } : service,
      );
      await shop.apply({ services }, undefined, two());
      await assert.rejects(shop.client('app').ping(shop.pen.deployment, { target: 'private' }), {
        code: 'NOT_EXPOSED',
      });
      await assert.rejects(
        shop.client('web').expose({ deployment: shop.pen.deployment, target: String(port) }),
        { code: 'TARGET_OWN' },
        'nor can the operator consent to it by mistake',
      );
    }
  });

  test('can never: use what the operator exposed to another deployment', async () => {
    // the same two owners open a second deployment with the same machines: consent is not theirs to carry over
    const zoo = new Pen(shop.pen.seats, 2);
    await zoo.apply(shop.client('hub'), {
      name: 'zoo',
      members: shop.members(),
      services: [{ name: 'db', on: ['web'], port: 5432, target: `127.0.0.1:${shop.db.port}`, protocol: 'tcp' }],
      access: [{ from: ['app'], to: ['db'] }],
    });
    for (const name of ['web', 'app']) {
      await shop.client(name).join({ token: zoo.token(shop.addresses['hub'] ?? []), waitMs: 10_000 });
    }
    const came = shop.db.came;
    await assert.rejects(shop.client('app').ping(zoo.deployment, { target: 'db' }), { code: 'NOT_EXPOSED' });
    assert.equal(shop.db.came, came);
  });
});

suite('owners below the threshold', () => {
  let shop: Shop;
  let courier: Twin;

  before(async () => {
    courier = await Twin.start();
    const [ana, bob, eve] = [seat('ana', 2), seat('bob', 1), seat('eve', 1)];
    shop = await Shop.open({
      seats: [ana, bob, eve],
      threshold: 3,
      more: (opening) => ({ members: [...opening.members(), pinned('courier', 10, courier.peer)] }),
    });
    courier.view.holdVersion(shop.pen.version);
    for (const name of ['hub', 'web', 'app']) await courier.dial(shop.addresses[name] ?? []);
  });

  after(async () => {
    await courier[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  /** Shows a version everywhere and by every way there is; true when any node took it. */
  async function show({ contract, signed, proof }: Version): Promise<string[]> {
    const codes = [];
    for (const name of ['hub', 'web', 'app']) {
      try {
        await shop
          .client(name)
          .submitVersion(contract.deployment, { contract: asDocument(contract), signed: asDocument(signed) });
        codes.push('taken');
      } catch (error) {
        codes.push(errorCode(error));
      }
    }
    courier.view.holdVersion({ contract, signed, proof });
    const news = Buffer.concat([
      framed({ kind: 'news' }),
      inParts({ deployment: contract.deployment, proof, claims: [] }),
    ]);
    for (const connection of courier.overlay.connections()) await courier.sendRaw(connection, '/moat/heads/1', news);
    return codes;
  }

  async function nothingChanged(): Promise<void> {
    for (const name of ['hub', 'web', 'app']) {
      const detail = await shop.client(name).deployment(shop.pen.deployment);
      assert.deepEqual(
        [detail.version, detail.head, detail.state],
        [shop.contract.version, (await shop.client('hub').deployment(shop.pen.deployment)).head, 'active'],
      );
      assert.deepEqual((detail.contract as unknown as Contract).access, shop.contract.access, name);
    }
  }

  const wish = { access: [{ from: ['courier'], to: ['db', 'private', 'web'] }] };

  test('can never: change anything with too few signatures', async () => {
    const [ana, bob, eve] = shop.pen.seats as [Seat, Seat, Seat];
    for (const by of [[], [ana], [bob], [bob, eve]]) {
      const codes = await show(shop.pen.write(wish, by));
      for (const code of codes) assert.equal(code, 'QUORUM_MISSING');
    }
    await nothingChanged();
  });

  test('can never: count one signature twice, or one of another head', async () => {
    const [ana, bob] = shop.pen.seats as [Seat, Seat, Seat];
    const version = shop.pen.write(wish, [ana, ana, ana]);
    for (const code of await show(version)) assert.match(code, /^(QUORUM_MISSING|CONTRACT_INVALID|HEAD_FORGED)$/);
    const other = shop.pen.write({ access: [] }, [ana, bob]);
    const borrowed: Version = {
      ...version,
      signed: { head: version.signed.head, signatures: other.signed.signatures },
      proof: { ...version.proof, newest: { head: version.signed.head, signatures: other.signed.signatures } },
    };
    for (const code of await show(borrowed)) assert.match(code, /^(QUORUM_MISSING|HEAD_FORGED)$/);
    await nothingChanged();
  });

  test('can never: lower the threshold, raise a weight or bring in owners by their own word', async () => {
    const [ana, bob] = shop.pen.seats as [Seat, Seat, Seat];
    const friend = seat('friend', 9);
    for (const owners of [
      ownersOf(shop.pen.seats, 1),
      ownersOf([{ ...ana, weight: 9 }, bob], 3),
      ownersOf([...shop.pen.seats, friend], 3),
    ]) {
      for (const code of await show(shop.pen.write({ ...wish, owners }, [ana, friend]))) {
        assert.match(code, /^(QUORUM_MISSING|HEAD_FORGED)$/);
      }
    }
    await nothingChanged();
  });

  test('can never: end the deployment', async () => {
    const [ana] = shop.pen.seats as [Seat, Seat, Seat];
    for (const code of await show(shop.pen.write({ state: 'ended' }, [ana]))) assert.equal(code, 'QUORUM_MISSING');
    await nothingChanged();
    assert.equal(await tell(await shop.world.serviceAddress('app', 'db'), 'goes on'), 'goes on');
  });

  test('can: propose: it waits at the keeper, changes nothing, and is the version once enough stand beside it', async () => {
    const [ana, bob] = shop.pen.seats as [Seat, Seat, Seat];
    const { deployment } = shop.pen;
    const hub = shop.client('hub');
    const version = shop.contract.version + 1;
    const contract = { ...shop.contract, version, access: [{ from: ['app'], to: ['db', 'private'] }] };
    const base = { contract: shop.contract, head: shop.pen.version.signed.head };
    const unsigned = proposalOf(base, contract);
    const byOne = signProposal(unsigned, ana.key.signer);
    const first = await hub.putProposal(deployment, { proposal: asDocument(byOne) });
    assert.equal(first.applied, null);
    await nothingChanged();
    // nobody but owners and keepers hears of it, not even that it is there
    const [connection] = courier.overlay.connections(shop.peer('hub'));
    assert.ok(connection);
    const id = proposalId(unsigned);
    for (const question of [
      { kind: 'list', deployment },
      { kind: 'get', deployment, id },
      { kind: 'put', deployment },
      { kind: 'pull', deployment },
    ]) {
      const { answer } = await courier.sendRaw(connection, '/moat/proposals/1', framed(question));
      const elsewhere = { ...question, deployment: 'z'.repeat(26) };
      const unknown = await courier.sendRaw(connection, '/moat/proposals/1', framed(elsewhere));
      assert.deepEqual(answer, unknown.answer, question.kind);
      assert.ok(!String(answer).includes(id));
    }
    // the signature of somebody who is no owner adds nothing, nor does the same one again
    for (const extra of [seat('mallory'), ana]) {
      const more = signProposal(byOne, extra.key.signer);
      const outcome = await hub.putProposal(deployment, { proposal: asDocument(more) }).catch(errorCode);
      assert.ok(typeof outcome === 'string' || outcome.applied === null);
    }
    await nothingChanged();
    const both = mergeProposals(byOne, signProposal(unsigned, bob.key.signer), base);
    const last = await hub.putProposal(deployment, { proposal: asDocument(both) });
    assert.equal(last.applied?.version, version);
    const signed = { head: both.head, signatures: both.signatures };
    shop.pen.current = { contract: both.contract, signed, proof: { ...shop.pen.version.proof, newest: signed } };
    await shop.runs(['hub', 'web', 'app']);
    await nothingChanged();
  });

  test('two that reach it together can', async () => {
    const [ana, bob] = shop.pen.seats as [Seat, Seat, Seat];
    await shop.apply({ access: [{ from: ['app'], to: ['db'] }] }, undefined, [ana, bob]);
    await nothingChanged();
  });
});

suite('two who are each a quorum', () => {
  let shop: Shop;

  before(async () => {
    shop = await Shop.open({
      seats: [seat('ana'), seat('bob')],
      threshold: 1,
      machines: ['vault'],
      more: (opening) => ({
        members: opening.members().map((member) => (member.name === 'vault' ? { ...member, keeper: true } : member)),
      }),
    });
  });

  after(() => shop[Symbol.asyncDispose]());

  test('concurrent applies: the keepers take one head a version, and nothing forks', async () => {
    const [ana, bob] = shop.pen.seats as [Seat, Seat];
    for (const [one, other] of [
      ['hub', 'vault'],
      ['web', 'app'],
      ['vault', 'app'],
    ] as const) {
      const left = shop.pen.write({ access: [{ from: ['app'], to: ['db'] }] }, [ana]);
      const right = shop.pen.write({ access: [{ from: ['app'], to: ['db', 'private'] }] }, [bob]);
      const outcomes = await Promise.all(
        [[one, left] as const, [other, right] as const].map(([name, { contract, signed }]) =>
          shop
            .client(name)
            .submitVersion(contract.deployment, { contract: asDocument(contract), signed: asDocument(signed) })
            .then(() => 'taken', errorCode),
        ),
      );
      assert.equal(outcomes.filter((outcome) => outcome === 'taken').length, 1, `${one} ${other}: ${outcomes.join()}`);
      shop.pen.current = outcomes[0] === 'taken' ? left : right;
      await shop.runs();
      const heads = await Promise.all(
        ['hub', 'vault', 'web', 'app'].map((name) => shop.client(name).deployment(shop.pen.deployment)),
      );
      assert.equal(new Set(heads.map(({ head }) => head)).size, 1);
      for (const { state, alarms } of heads) assert.deepEqual([state, alarms.map(({ code }) => code)], ['active', []]);
    }
  });
});
