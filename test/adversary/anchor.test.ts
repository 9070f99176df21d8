/** What an anchor can do, and can never do (architecture.md §2): a twin that every byte between two members passes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { headHash, headOf } from '@moat/contract';
import { eventually } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { Pen, pinned } from './pen.ts';
import { startEcho, tell, type Echo } from './shop.ts';
import { HostileAnchor } from './twins/anchor.ts';
import { HostileSplice, type SpliceMode } from './twins/splice.ts';
import { Twin, framed, inParts, unframed } from './twins/twin.ts';

const SECRET = 'a sentence that only the two ends may read';

suite('anchor', () => {
  const world = new World();
  const pen = new Pen();
  let anchor: HostileAnchor;
  let db: Echo;
  const peers = { hub: '', app: '' };

  before(async () => {
    anchor = await HostileAnchor.start();
    db = await startEcho();
    // neither machine takes anything in: all they have is the anchor
    for (const name of ['hub', 'app'] as const) {
      await world.addMachine(name, { inbound: false });
      peers[name] = (await world.client(name).status()).peerId;
    }
    await pen.apply(world.client('hub'), {
      anchors: [anchor.address],
      members: [pinned('hub', 2, peers.hub, { keeper: true }), pinned('app', 3, peers.app)],
      services: [{ name: 'db', on: ['hub'], port: 5432, target: `127.0.0.1:${db.port}`, protocol: 'tcp' }],
      access: [{ from: ['app'], to: ['db'] }],
    });
    await world.client('hub').expose({ deployment: pen.deployment, target: String(db.port) });
    await eventually('the keeper reserved', async () => anchor.reserved.includes(peers.hub));
    const keeper = `${anchor.address}/p2p-circuit/p2p/${peers.hub}`;
    await world.client('app').join({ token: pen.token([keeper]), waitMs: 20_000 });
    await reaches();
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    await anchor[Symbol.asyncDispose]();
    await db[Symbol.asyncDispose]();
  });

  const ask = async (text = SECRET): Promise<string> => tell(await world.serviceAddress('app', 'db'), text);
  const reaches = (): Promise<unknown> =>
    eventually('the members reach each other', async () => (await ask()) === SECRET, 60_000);

  test('can: see which PeerIds and addresses use it, when and how much', () => {
    assert.ok(anchor.reserved.includes(peers.hub));
    assert.ok(anchor.asked > 0 && anchor.seen.length > 0);
  });

  test('can never: see a contract, or read content', async () => {
    assert.equal(await ask(), SECRET);
    const seen = anchor.seen.toString('latin1');
    for (const word of [
      SECRET,
      pen.deployment,
      'moat/contract',
      'moat/head',
      '"members"',
      '10.77',
      '/moat/hello',
      '/moat/link',
    ]) {
      assert.ok(!seen.includes(word), word);
    }
    // nor by asking as who it is: the same nothing that every stranger gets
    const hello = Buffer.from(JSON.stringify({ deployments: [pen.deployment] }).padEnd(1024));
    const told = unframed(await anchor.say(peers.hub, '/moat/hello/1', framed(hello)));
    assert.deepEqual(
      told.map((message) => JSON.parse(String(message))),
      [{ deployments: [] }],
    );
    const pull = framed({ kind: 'pull', deployment: pen.deployment, version: 0 });
    for (const protocol of ['/moat/heads/1', '/moat/link/1', '/moat/id/1.0.0']) {
      assert.equal((await anchor.say(peers.hub, protocol, pull)).length, 0, protocol);
    }
  });

  test('can never: change content: a flipped byte ends the connection and reaches nobody', async () => {
    const socket = connect(await world.serviceAddress('app', 'db'));
    let received = '';
    socket.setEncoding('utf8').on('data', (text: string) => (received += text));
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.write(SECRET, () => socket.once('data', resolve)));
    assert.equal(received, SECRET);
    const came = db.came;
    anchor.mode = 'tamper';
    const [closed, more] = [once(socket, 'close'), ' and more of it'];
    let isClosed = false;
    void closed.then(() => (isClosed = true));
    socket.write(more);
    await assert.rejects(world.client('app').ping(pen.deployment, { target: 'db', timeoutMs: 4000 }));
    assert.equal(received, SECRET, 'what came before is whole, and nothing came after');
    assert.equal(db.came, came, 'no connection was made up either');
    anchor.mode = 'honest';
    await reaches();
    // the stream ended, or went on over another path with every byte as it was written
    await eventually('its fate is known', async () => isClosed || received.length > SECRET.length, 60_000);
    assert.ok([SECRET, SECRET + more].includes(received), received);
    socket.destroy();
  });

  test('can: withhold and refuse; it is noticed, and mends when it ends', async () => {
    for (const mode of ['withhold', 'refuse'] as const) {
      anchor.mode = mode;
      if (mode === 'refuse') anchor.cut();
      await assert.rejects(world.client('app').ping(pen.deployment, { target: 'db', timeoutMs: 4000 }));
      anchor.mode = 'honest';
      await reaches();
    }
  });

  test('can never: put another machine in a member’s place', async () => {
    await using impostor = await Twin.start();
    impostor.view.holdVersion(pen.version);
    impostor.view.alsoShared.set(peers.app, [pen.deployment]);
    impostor.overlay.viewChanged();
    await eventually('the impostor reserved', async () => anchor.reserved.includes(impostor.peer));
    anchor.other = impostor.peer;
    anchor.mode = 'misdirect';
    const asked = anchor.asked;
    anchor.cut();
    await assert.rejects(world.client('app').ping(pen.deployment, { target: 'db', timeoutMs: 4000 }));
    await eventually('it was asked to connect them', async () => anchor.asked > asked);
    assert.deepEqual(impostor.asked, []);
    assert.equal(impostor.overlay.connections(peers.app).length, 0);
    anchor.mode = 'honest';
    await reaches();
  });

  test('can never: admit a member: whom it names is not who it is', async () => {
    await using friend = await Twin.start();
    anchor.other = peers.app;
    anchor.mode = 'misname';
    const connection = await friend.dial([`${anchor.address}/p2p-circuit/p2p/${peers.hub}`]).catch(() => undefined);
    if (connection !== undefined) {
      const hello = Buffer.from(JSON.stringify({ deployments: [pen.deployment] }).padEnd(1024));
      const told = unframed((await friend.sendRaw(connection, '/moat/hello/1', framed(hello))).answer);
      for (const message of told) assert.deepEqual(JSON.parse(String(message)), { deployments: [] });
    }
    anchor.mode = 'honest';
    // a version that gives it a place is worth its signatures, of which it has none
    const contract = {
      ...pen.version.contract,
      version: 1,
      members: [...pen.version.contract.members, pinned('x', 9, friend.peer)],
    };
    const head = headOf(contract, headHash(pen.version.signed.head));
    const proof = { ...pen.version.proof, newest: { head, signatures: [] } };
    const news = Buffer.concat([framed({ kind: 'news' }), inParts({ deployment: pen.deployment, proof, claims: [] })]);
    await anchor.say(peers.hub, '/moat/heads/1', news);
    assert.equal((await world.client('hub').deployment(pen.deployment)).version, 0);
    await reaches();
  });

  suite('that joins sockets', () => {
    let splice: HostileSplice;

    before(async () => {
      splice = await HostileSplice.start();
      anchor.splice = splice;
    });

    after(async () => {
      anchor.splice = undefined;
      await splice[Symbol.asyncDispose]();
    });

    /** Has the members make a new link while the splice does what `mode` says. */
    async function again(mode: SpliceMode): Promise<void> {
      splice.mode = mode;
      splice.cut();
      anchor.cut();
    }

    test('can never: read or change what it joins', async () => {
      await again('honest');
      await eventually(
        'a link stands over it',
        async () => (await ask()) === SECRET && splice.joined > 0 && Buffer.concat(splice.seen).length > 1000,
        60_000,
      );
      assert.ok(!Buffer.concat(splice.seen).toString('latin1').includes(SECRET));
      const socket = connect(await world.serviceAddress('app', 'db'));
      let received = '';
      socket.setEncoding('utf8').on('data', (text: string) => (received += text));
      socket.on('error', () => undefined);
      await new Promise((resolve) => socket.write(SECRET, () => socket.once('data', resolve)));
      const closed = new Promise((resolve) => socket.once('close', resolve));
      splice.mode = 'tamper';
      // whether this stream runs over the splice or the overlay by now, not one byte of it may change
      for (let i = 0; i < 20 && !socket.destroyed; i++) {
        socket.write(SECRET);
        await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 20))]);
      }
      assert.equal(received, SECRET.repeat(received.length / SECRET.length), 'nothing altered arrived');
      socket.destroy();
      await again('honest');
      await reaches();
    });

    for (const mode of ['mirror', 'impersonate', 'elsewhere'] as const) {
      test(`can never: splice wrongly (${mode}): members find another way and tell nobody anything`, async () => {
        const decoy = await startEcho();
        splice.elsewhere = decoy.port;
        splice.seen.length = 0;
        const { came } = splice;
        await again(mode);
        await reaches();
        await eventually('they came to be joined', async () =>
          mode === 'elsewhere' ? decoy.came > 0 : splice.came > came,
        );
        // the wrong end never got as far as the service, nor a word of what was said
        assert.ok(!Buffer.concat(splice.seen).toString('latin1').includes(SECRET));
        assert.equal(await ask(), SECRET);
        await decoy[Symbol.asyncDispose]();
      });
    }
  });
});
