/** Who is out: a removed member, an ended membership, an expired grant. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { SteppedClock } from './stepped-clock.ts';
import { Agent, Owner, listenerOf, startEcho, until } from './world.ts';

const HOUR = 3_600_000;

interface Stage extends AsyncDisposable {
  readonly home: Agent;
  readonly app: Agent;
  readonly owner: Owner;
  readonly id: string;
  /** Streams that run: from app to home's service, and from home to app's. */
  readonly out: Socket;
  readonly inward: Socket;
  readonly clock: SteppedClock;
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => (socket.closed ? resolve() : socket.on('close', () => resolve())));
}

async function running(agent: Agent, id: string, service: string): Promise<Socket> {
  const to = await listenerOf(agent, id, service);
  return until(`a stream to ${service}`, async () => {
    const socket = connect(to.port, to.host).on('error', () => undefined);
    socket.setTimeout(5000, () => socket.destroy());
    socket.write('x');
    const answer = new Promise<boolean>((resolve) => socket.once('data', () => resolve(true)));
    const isAnswered = await Promise.race([answer, closed(socket).then(() => false)]);
    socket.setTimeout(0);
    return isAnswered && socket;
  });
}

/** Two machines with a service each, and a stream each way; both on one clock. */
async function stage(expires: { readonly member?: number; readonly grant?: number } = {}): Promise<Stage> {
  const stack = new AsyncDisposableStack();
  const clock = new SteppedClock();
  const home = stack.use(await Agent.start({ clock }));
  const app = stack.use(await Agent.start({ clock }));
  const echo = stack.use(await startEcho());
  const owner = new Owner(home);
  const target = `127.0.0.1:${echo.port}`;
  const at = (ms: number | undefined): { expires?: string } =>
    ms === undefined ? {} : { expires: new Date(clock.now() + ms).toISOString().replace(/\.\d+Z/, 'Z') };
  await owner.apply({
    members: [
      await owner.pinned('home', 2, home, { keeper: true }),
      await owner.pinned('app', 3, app, at(expires.member)),
    ],
    services: [
      { name: 'db', on: ['home'], port: 5432, target, protocol: 'tcp' },
      { name: 'own', on: ['app'], port: 5433, target, protocol: 'tcp' },
    ],
    access: [
      { from: ['app'], to: ['db'], ...at(expires.grant) },
      { from: ['home'], to: ['own'], ...at(expires.grant) },
    ],
  });
  const id = owner.deployment;
  await app.client.join({ token: await owner.locator(), expose: [{ target }] });
  await home.client.expose({ deployment: id, target });
  const [out, inward] = [await running(app, id, 'db'), await running(home, id, 'own')];
  stack.defer(() => {
    out.destroy();
    inward.destroy();
  });
  return { home, app, owner, id, out, inward, clock, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test('a removed member loses its streams, links and connections with the version that removes it', async () => {
  await using stand = await stage();
  const { home, app, owner, id, out, inward, clock } = stand;
  const peer = await app.peerId();
  const ended = Promise.all([closed(out), closed(inward)]);
  const { members, services } = owner.contract;
  await owner.apply({
    members: members.filter(({ name }) => name !== 'app'),
    services: services.filter(({ name }) => name !== 'own'),
    access: [],
  });
  // The answer to the owner came after the turn in which all of it ended.
  const status = await home.client.status();
  assert.deepEqual([status.links, status.connections], [[], 0]);
  await ended;
  // It is told nothing: what it says is what it knows, and that nobody is there.
  const left = await until('app sees that it is alone', async () => {
    const detail = await app.client.deployment(id);
    return detail.places.every(({ self, connected }) => self || !connected) && detail;
  });
  assert.equal(left.version, 0);
  const before = left.freshness.ageMs;
  await until('its age grows', async () => (await app.client.deployment(id)).freshness.ageMs > before);
  // Its keeper answers and does not know it: that is the truth, and all of it.
  await until('the keeper answered', async () => {
    clock.pass(61_000);
    const { alarms } = await app.client.deployment(id);
    return alarms.some(({ code, message }) => code === 'KEEPER_SILENT' && message.startsWith('home answers'));
  });
  const service = left.services.find(({ name }) => name === 'db');
  assert.deepEqual([service?.instances, service?.connected], [1, 0]);
  await assert.rejects(app.client.ping(id, { target: 'db', timeoutMs: 3000 }));
  assert.equal(
    (await home.client.status()).links.some((link) => link.peer === peer),
    false,
  );
});

test('a machine that takes the version which removes it stops at once too', async () => {
  await using stand = await stage();
  const { home, owner, id, out, inward } = stand;
  const { members } = owner.contract;
  const [, app] = members;
  assert.ok(app !== undefined);
  // The owner's own machine leaves; app becomes the keeper.
  await owner.apply({ members: [{ ...app, keeper: true }], services: [], access: [] });
  assert.deepEqual((await home.client.status()).links, []);
  await Promise.all([closed(out), closed(inward)]);
  assert.equal((await home.client.deployment(id)).member, null);
  assert.deepEqual((await home.client.hosts(id)).hosts, []);
});

test('an ended membership ends its streams at that moment, on both machines', async () => {
  await using stand = await stage({ member: HOUR });
  const { home, app, id, out, inward, clock } = stand;
  clock.pass(HOUR / 2);
  assert.deepEqual([out.closed, inward.closed], [false, false]);
  clock.pass(HOUR / 2 + 1000);
  await Promise.all([closed(out), closed(inward)]);
  for (const agent of [home, app]) {
    const { places } = await agent.client.deployment(id);
    assert.equal(places.find(({ name }) => name === 'app')?.state, 'expired');
    assert.deepEqual((await agent.client.status()).links, []);
  }
});

test('an expired grant ends its streams at that moment', async () => {
  await using stand = await stage({ grant: HOUR });
  const { home, app, id, out, inward, clock } = stand;
  clock.pass(HOUR + 1000);
  await Promise.all([closed(out), closed(inward)]);
  for (const agent of [home, app]) {
    const { services } = await agent.client.deployment(id);
    assert.ok(services.every(({ granted, local }) => !granted && local === null));
  }
});

test('a clock set forward past an expiry ends it within half a minute', async () => {
  await using stand = await stage({ grant: HOUR });
  const { out, inward, clock } = stand;
  clock.set(2 * HOUR);
  clock.pass(31_000);
  await Promise.all([closed(out), closed(inward)]);
});
