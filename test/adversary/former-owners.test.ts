/** What a former quorum can do, and can never do: a dropped owner, and the thief of a rotated key (architecture.md §2). */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { bundleFor } from '@moat/contract';
import { errorCode } from '@moat/core';
import { eventually } from '../e2e/machine.ts';
import { asDocument, ownersOf, pinned, publication, seat, type Seat, type Version } from './pen.ts';
import { Shop, tell } from './shop.ts';
import { Twin, framed, inParts } from './twins/twin.ts';

suite('former quorum', () => {
  let shop: Shop;
  /** A machine of the dropped owner, a member still. */
  let mole: Twin;
  const [ana, bob] = [seat('ana'), seat('bob')] as const;
  /** The last version under the old owner. */
  let last: Version;

  before(async () => {
    mole = await Twin.start();
    mole.view.follows = false;
    shop = await Shop.open({
      seats: [ana],
      more: (opening) => ({
        members: [...opening.members(), pinned('mole', 10, mole.peer)],
        // version 0 is not published anywhere yet, so the gateway has never heard of the deployment
        publish: [],
      }),
    });
    last = shop.pen.version;
  });

  after(async () => {
    await mole[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  const names = ['hub', 'web', 'app'];

  async function meet(): Promise<void> {
    for (const name of names) await mole.dial(shop.addresses[name] ?? []);
  }

  /** Shows a version to every node by API and by news; the codes of the API. */
  async function show({ contract, signed, proof }: Version): Promise<Set<string>> {
    const codes = new Set<string>();
    for (const name of names) {
      const request = { contract: asDocument(contract), signed: asDocument(signed) };
      await shop
        .client(name)
        .submitVersion(contract.deployment, request)
        .then(
          () => codes.add('taken'),
          (error: unknown) => codes.add(errorCode(error)),
        );
    }
    mole.view.holdVersion({ contract, signed, proof });
    await meet();
    const news = Buffer.concat([
      framed({ kind: 'news' }),
      inParts({ deployment: contract.deployment, proof, claims: [] }),
    ]);
    for (const connection of mole.overlay.connections()) await mole.sendRaw(connection, '/moat/heads/1', news);
    return codes;
  }

  async function nothingChanged(): Promise<void> {
    for (const name of names) {
      const detail = await shop.client(name).deployment(shop.pen.deployment);
      assert.deepEqual([name, detail.version, detail.state], [name, shop.contract.version, 'active']);
    }
    assert.equal(await tell(await shop.world.serviceAddress('app', 'db'), 'served'), 'served');
  }

  test('can: show an old head to a gateway that has seen nothing newer, until one current member connects', async () => {
    // under the old owner: a version that publishes, known to the mole and not yet shown at the gateway
    const { domain, peers } = shop.world.gateway.pin;
    const publish = [publication('shop', 'web', domain, peers)];
    const honest = shop.contract.services;
    const services = honest.map((one) => (one.name === 'web' ? { ...one, on: ['web', 'mole'] } : one));
    for (const name of ['web', 'hub', 'app']) await shop.world.agent(name).kill();
    const old = shop.pen.write({ publish, services }, [ana]);
    const gateway = peers[0]?.split('/p2p/')[1] ?? '';
    const connection = await mole.dial(peers);
    const answer = await mole.overlay.publish(
      connection,
      bundleFor(old.proof, old.contract, [], gateway),
      AbortSignal.timeout(10_000),
    );
    assert.equal(answer.ok, true, 'believed: nothing newer was shown');
    await mole.links.connect(gateway, AbortSignal.timeout(10_000));
    await eventually('the mole serves the name', async () => {
      await shop.served().catch(() => false);
      return mole.asked.length > 0;
    });

    // the same version reached the members, and the next one drops the owner and the mole's place at the name
    for (const name of ['hub', 'web', 'app']) await shop.world.restart(name);
    await shop.pen.submit(shop.client('hub'), old);
    last = old;
    const owners = ownersOf([bob], 1);
    await shop.pen.submit(shop.client('hub'), shop.pen.write({ owners, services: honest }, [ana, bob]));
    await shop.apply({}, names, [bob]);
    // Until then the honest member, too, serves under the old head.
    await eventually('an honest member is believed over it, and the old head not again', async () => {
      const again = await mole.overlay.publish(
        await mole.dial(peers),
        bundleFor(old.proof, old.contract, [], gateway),
        AbortSignal.timeout(10_000),
      );
      return !again.ok && again.code === 'VERSION_OLD';
    });
    const before = mole.asked.length;
    for (let i = 0; i < 5; i++)
      assert.equal((await shop.world.gateway.browser.fetch('shop.localhost')).text, 'hello from web\n');
    assert.equal(mole.asked.length, before, 'not one request went to the mole after that');
  });

  test('can never: sign a second version n+1 beside the one that dropped it', async () => {
    const second = shop.pen.write({ access: [{ from: ['mole'], to: ['db', 'private'] }] }, [ana], last);
    const codes = await show(second);
    assert.ok(!codes.has('taken'), [...codes].join());
    await nothingChanged();
  });

  test('can never: go on from its own branch, however far', async () => {
    let branch = last;
    for (let i = 0; i < 6; i++) branch = shop.pen.write({ access: [{ from: ['mole'], to: ['db'] }] }, [ana], branch);
    assert.ok(branch.contract.version > shop.contract.version);
    const codes = await show(branch);
    assert.ok(!codes.has('taken'), [...codes].join());
    await nothingChanged();
  });

  test('can never: continue the chain that dropped it, nor undo its dropping', async () => {
    const owners = ownersOf([ana], 1);
    for (const version of [
      shop.pen.write({}, [ana]),
      shop.pen.write({ owners }, [ana]),
      // beside the succession itself: another succession to owners of its choice
      shop.pen.write({ owners: ownersOf([seat('eve')], 1) }, [ana], last),
    ]) {
      const codes = await show(version);
      assert.ok(!codes.has('taken'), [...codes].join());
    }
    await nothingChanged();
  });

  test('can never: stop the network by a fork: no alarm, no freeze, the next version passes', async () => {
    for (const name of names) {
      const { alarms } = await shop.client(name).deployment(shop.pen.deployment);
      assert.ok(!alarms.some(({ code }) => code === 'HEAD_FORKED'), name);
    }
    await shop.apply({ access: [{ from: ['app'], to: ['db'] }] }, names, [bob]);
    await nothingChanged();
  });

  test('can never: win back a gateway that knows of the change, by any branch of its own', async () => {
    const { peers } = shop.world.gateway.pin;
    const gateway = peers[0]?.split('/p2p/')[1] ?? '';
    const services = shop.contract.services.map((one) => (one.name === 'web' ? { ...one, on: ['mole'] } : one));
    const eve = seat('eve');
    // its own versions, far beyond; and a succession of its own beside the true one, sealed by who it named
    let branch = shop.pen.write({ services }, [ana], last);
    for (let i = 0; i < 10; i++) branch = shop.pen.write({ services }, [ana], branch);
    const usurper = shop.pen.write({ services, owners: ownersOf([eve], 1) }, [ana, eve], last);
    let sealed = shop.pen.write({}, [eve], usurper);
    for (let i = 0; i < 10; i++) sealed = shop.pen.write({}, [eve], sealed);
    for (const { proof, contract } of [branch, usurper, sealed]) {
      const bundle = bundleFor(proof, contract, [], gateway);
      const answer = await mole.overlay.publish(await mole.dial(peers), bundle, AbortSignal.timeout(10_000));
      assert.ok(!answer.ok && /^(HEAD_FORGED|HEAD_FORKED|VERSION_OLD)$/.test(answer.code), JSON.stringify(answer));
    }
    for (let i = 0; i < 3; i++) {
      assert.equal((await shop.world.gateway.browser.fetch('shop.localhost')).text, 'hello from web\n');
    }
  });

  test('can never: as the thief of a rotated key, sign a version that counts', async () => {
    // bob rotates: the new key signs along, and an empty version seals it
    const fresh: Seat = { ...seat('bob') };
    const before = shop.pen.version;
    await shop.apply({ owners: ownersOf([fresh], 1) }, names, [bob, fresh]);
    await shop.apply({}, names, [fresh]);
    for (const after of [before, shop.pen.version]) {
      const codes = await show(shop.pen.write({ access: [{ from: ['mole'], to: ['db'] }] }, [bob], after));
      assert.ok(!codes.has('taken'), [...codes].join());
    }
    await nothingChanged();
  });
});
