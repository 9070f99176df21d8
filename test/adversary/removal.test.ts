/** A member that is removed loses every stream it holds, at every machine, within two seconds of the owner's word. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { headHash } from '@moat/contract';
import { SteppedClock } from '../../packages/node/test/stepped-clock.ts';
import { Agent, startEcho } from '../../packages/node/test/world.ts';
import { eventually, within } from '../e2e/machine.ts';
import { Pen, pinned } from './pen.ts';
import { Twin, framed, gone, inParts } from './twins/twin.ts';

const NODES = 20;
/** What is promised to members with any path to one that knows. */
const WITHIN_MS = within(2_000);

suite(`removal from a network of ${NODES} nodes`, { timeout: 120_000 }, () => {
  const pen = new Pen();
  const agents: Agent[] = [];
  let mallory: Twin;
  let db: Awaited<ReturnType<typeof startEcho>>;

  before(async () => {
    db = await startEcho();
    mallory = await Twin.start();
    agents.push(...(await Promise.all(Array.from({ length: NODES }, () => Agent.start()))));
    const statuses = await Promise.all(agents.map(({ client }) => client.status()));
    const target = `127.0.0.1:${db.port}`;
    await pen.apply(hub().client, {
      members: [
        ...statuses.map(({ peerId }, i) => pinned(`node-${i}`, i + 2, peerId, i === 0 ? { keeper: true } : {})),
        pinned('mallory', 100, mallory.peer),
      ],
      services: statuses.map((_, i) => ({
        name: `db-${i}`,
        on: [`node-${i}`],
        port: 5432 + i,
        target,
        protocol: 'tcp' as const,
      })),
      access: [{ from: ['mallory'], to: statuses.map((_, i) => `db-${i}`) }],
    });
    const { keepers } = await hub().client.deployment(pen.deployment);
    await Promise.all(agents.slice(1).map(({ client }) => client.join({ token: pen.token(keepers), waitMs: 30_000 })));
    await Promise.all(
      agents.map(({ client }) => client.expose({ deployment: pen.deployment, target: String(db.port) })),
    );
    mallory.view.holdVersion(pen.version);
    mallory.view.follows = false;
    await Promise.all(statuses.map(({ addresses }) => mallory.dial(addresses)));
  });

  after(async () => {
    await mallory[Symbol.asyncDispose]();
    await Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]()));
    await db[Symbol.asyncDispose]();
  });

  const hub = (): Agent => {
    const [first] = agents;
    assert.ok(first);
    return first;
  };

  test('its streams, links and connections end on every member within 2 s, and none come back', async (t) => {
    const { deployment } = pen;
    const peers = await Promise.all(agents.map((agent) => agent.peerId()));
    const held = await Promise.all(
      peers.map(async (peer, i) => {
        const link = await eventually('a link', async () => mallory.link(peer));
        return mallory.hold(link, { deployment, service: `db-${i}`, kind: 'tcp' });
      }),
    );
    await eventually('every stream reached its service', async () => db.connections() === NODES);
    const connections = peers.map((peer) => mallory.overlay.connections(peer)[0]);

    const begin = performance.now();
    await pen.apply(hub().client, {
      members: pen.version.contract.members.filter(({ name }) => name !== 'mallory'),
      access: [],
    });
    const times = await Promise.all(held.map(({ closed }) => closed.then(() => performance.now() - begin)));
    t.diagnostic(`the last stream ended after ${Math.round(Math.max(...times))} ms`);
    assert.ok(Math.max(...times) < WITHIN_MS, `the last stream ended after ${Math.round(Math.max(...times))} ms`);
    await eventually('no service has a connection left', async () => db.connections() === 0, WITHIN_MS);
    for (const connection of connections) if (connection !== undefined) await gone(connection);
    // it may dial again, as anybody may; it is nobody
    await using again = await Twin.start({ key: mallory.key });
    const answers = agents.map(async ({ client }) => {
      const connection = await again.dial((await client.status()).addresses);
      return (await again.sendRaw(connection, '/moat/link/1', framed({ type: 'ask' }))).answer.length;
    });
    assert.deepEqual(new Set(await Promise.all(answers)), new Set([0]));
    assert.equal(db.connections(), 0);
  });
});

suite('a partition that a removed member is in', { timeout: 120_000 }, () => {
  const HOUR = 3_600_000;

  test('can never: keep it fresh; where the owner set no maxStale it goes on', async () => {
    await using db = await startEcho();
    await using keeper = await Agent.start();
    const clock = new SteppedClock();
    await using web = await Agent.start({ clock });
    await using mallory = await Twin.start();
    const peers = { keeper: await keeper.peerId(), web: await web.peerId() };
    const pens = { bounded: new Pen(), unbounded: new Pen() };
    for (const [name, pen] of Object.entries(pens)) {
      await pen.apply(keeper.client, {
        name,
        network: { ipv4: '10.77.0.0/16', plane: 'rootless', ...(name === 'bounded' ? { maxStale: HOUR } : {}) },
        members: [
          pinned('home', 2, peers.keeper, { keeper: true }),
          pinned('web', 3, peers.web),
          pinned('mallory', 4, mallory.peer),
        ],
        services: [{ name: 'db', on: ['web'], port: 5432, target: `127.0.0.1:${db.port}`, protocol: 'tcp' }],
        access: [{ from: ['mallory'], to: ['db'] }],
      });
      const { keepers } = await keeper.client.deployment(pen.deployment);
      await web.client.join({ token: pen.token(keepers), waitMs: 20_000 });
      await web.client.expose({ deployment: pen.deployment, target: String(db.port) });
      mallory.view.holdVersion(pen.version);
    }
    mallory.view.follows = false;
    const { addresses } = await web.client.status();
    await mallory.dial(addresses);
    const held = async (pen: Pen): Promise<{ readonly closed: Promise<string> }> =>
      mallory.hold(await mallory.link(peers.web), { deployment: pen.deployment, service: 'db', kind: 'tcp' });
    const streams = { bounded: await held(pens.bounded), unbounded: await held(pens.unbounded) };
    let isOpen = true;
    void streams.unbounded.closed.then(() => (isOpen = false));

    // the keeper is away, and takes the removal with it: the partition is web and the one who was removed
    await keeper.stop();
    const { deployment, version } = { deployment: pens.bounded.deployment, version: pens.bounded.version };
    const state = async (pen: Pen): Promise<string> => (await web.client.deployment(pen.deployment)).freshness.state;
    const vouch = async (): Promise<void> => {
      const connection = await mallory.dial(addresses);
      const hello = Buffer.from(JSON.stringify({ deployments: [deployment] }).padEnd(1024));
      const news = inParts({ deployment, proof: version.proof, claims: [] });
      const summary = inParts({ version: 0, head: headHash(version.signed.head), claims: [] });
      await mallory.sendRaw(connection, '/moat/hello/1', Buffer.concat([framed(hello), news]));
      await mallory.sendRaw(connection, '/moat/heads/1', Buffer.concat([framed({ kind: 'news' }), news]));
      await mallory.sendRaw(
        connection,
        '/moat/heads/1',
        Buffer.concat([framed({ kind: 'compare', deployment }), summary]),
      );
    };
    for (let minutes = 0; minutes <= 66; minutes += 6) {
      await vouch();
      clock.pass(6 * 60_000);
    }
    assert.equal(await streams.bounded.closed, 'STALE');
    await vouch();
    assert.equal(await state(pens.bounded), 'stale');
    const outcome = await mallory
      .link(peers.web)
      .then((link) => mallory.ask(link, { deployment, service: 'db', kind: 'tcp' }));
    assert.equal(outcome, 'STALE');
    assert.ok(isOpen, 'the other network goes on with what it knows');
    assert.equal(await state(pens.unbounded), 'fresh');
  });
});
