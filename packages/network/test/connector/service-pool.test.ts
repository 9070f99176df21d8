import assert from 'node:assert/strict';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import { checkLeaks, createManualClock, type ManualClock } from '@moat/testkit';
import { ServicePool, type ConnectionUser, type ServiceConnection } from '../../src/connector/service-pool.ts';
import { rawServer, type RawServer } from '../peer.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

function user(events: Partial<ConnectionUser> = {}): ConnectionUser {
  const nothing = (): void => undefined;
  return {
    onServiceData: nothing,
    onServiceDrain: nothing,
    onServiceEnd: nothing,
    onServiceClose: nothing,
    onServiceTimeout: nothing,
    ...events,
  };
}

async function taken(
  pool: ServicePool,
  server: RawServer,
  events?: Partial<ConnectionUser>,
): Promise<ServiceConnection> {
  const connection = pool.take(server, { fresh: false });
  connection.use(user(events));
  if (connection.socket.connecting) await once(connection.socket, 'connect');
  return connection;
}

function poolOn(clock: ManualClock, idleMs?: number): ServicePool {
  return new ServicePool({ clock, isOwnSocket: () => false }, idleMs === undefined ? {} : { idleMs });
}

suite('service pool', () => {
  test('one timer for all connections, and none without', async () => {
    await using _ = checkLeaks();
    const clock = createManualClock();
    await using server = await rawServer(() => undefined);
    const pool = poolOn(clock);
    assert.equal(clock.pending, 0);
    const all = await Promise.all(Array.from({ length: 8 }, () => taken(pool, server)));
    for (const each of all) each.expireIn(300_000);
    assert.equal(clock.pending, 1);
    for (const each of all) pool.give(each, undefined);
    assert.equal(clock.pending, 1);
    clock.advance(4_000);
    await until(() => pool.size === 0);
    clock.advance(500);
    assert.equal(clock.pending, 0);
    await taken(pool, server);
    assert.equal(clock.pending, 1, 'it begins again');
    pool.close();
    assert.equal(clock.pending, 0);
  });

  test('idle connections are closed in their time, never late, and those in use stay', async () => {
    const clock = createManualClock();
    await using server = await rawServer(() => undefined);
    const pool = poolOn(clock);
    const busy = await taken(pool, server);
    for (const [keepAliveMs, leastMs, mostMs] of [
      [undefined, 3_000, 4_000],
      [60_000, 3_000, 4_000],
      [3_000, 1_000, 2_000],
      [1_500, 0, 500],
    ] as const) {
      clock.advance(130);
      const connection = await taken(pool, server);
      pool.give(connection, keepAliveMs);
      clock.advance(leastMs);
      assert.equal(connection.socket.destroyed, false, `${keepAliveMs}: not before ${leastMs} ms`);
      clock.advance(mostMs - leastMs);
      assert.equal(connection.socket.destroyed, true, `${keepAliveMs}: after ${mostMs} ms`);
    }
    assert.equal(busy.socket.destroyed, false);
    pool.close();
  });

  test('a deadline passes once, not early, and not after it was lifted', async () => {
    const clock = createManualClock();
    await using server = await rawServer(() => undefined);
    const pool = poolOn(clock);
    let late = 0;
    const connection = await taken(pool, server, { onServiceTimeout: () => (late += 1) });
    clock.advance(130);
    connection.expireIn(2_000);
    clock.advance(1_999);
    assert.equal(late, 0);
    clock.advance(1_001);
    assert.equal(late, 1);
    clock.advance(60_000);
    assert.equal(late, 1);
    connection.expireIn(1_000);
    pool.give(connection, undefined);
    const again = await taken(pool, server, { onServiceTimeout: () => (late += 1) });
    assert.equal(again, connection);
    clock.advance(60_000);
    assert.equal(late, 1, 'a deadline of the user before');
    assert.equal(again.socket.destroyed, false);
    pool.close();
  });

  test('each target has connections of its own, used last first', async () => {
    const clock = createManualClock();
    await using one = await rawServer(() => undefined);
    await using two = await rawServer(() => undefined);
    const pool = poolOn(clock);
    const [a, b, other] = await Promise.all([taken(pool, one), taken(pool, one), taken(pool, two)]);
    for (const each of [a, b, other]) pool.give(each, undefined);
    assert.equal(pool.take({ host: one.host, port: one.port }, { fresh: false }), b);
    assert.equal(pool.take({ host: two.host, port: two.port }, { fresh: false }), other);
    assert.equal(pool.take({ host: one.host, port: one.port }, { fresh: false }), a);
    assert.equal(pool.size, 3);
    pool.close();
    await until(() => pool.size === 0);
  });

  test('an idle connection ends with the first byte that arrives', async () => {
    const clock = createManualClock();
    await using server = await rawServer(() => undefined);
    const pool = poolOn(clock);
    const connection = await taken(pool, server);
    pool.give(connection, undefined);
    await until(() => server.sockets.size === 1);
    for (const socket of server.sockets) socket.write('H');
    await until(() => connection.socket.destroyed);
    const next = pool.take(server, { fresh: false });
    assert.notEqual(next, connection);
    pool.close();
  });
});
