import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { silentLogger } from '@moat/core';
import { checkLeaks, createManualClock } from '@moat/testkit';
import { HealthChecks } from '../../src/connector/health.ts';
import { ServicePool } from '../../src/connector/service-pool.ts';
import { MemoryHub } from '../memory-links.ts';
import { Peer, rawServer, requestHead } from '../peer.ts';
import { DEPLOYMENT, PEERS, contract, machine, viewOf } from '../shop.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

suite('health checks', () => {
  test('unhealthy after two failures in a row, well after one good answer', async () => {
    await using _ = checkLeaks();
    let status = '200 OK';
    let requests = 0;
    await using server = await rawServer((socket) => {
      socket.on('data', (bytes: Buffer) => {
        assert.match(bytes.toString(), /^GET \/healthz\?a=b HTTP\/1\.1\r\nhost: web\.shop\.internal\r\n/);
        requests += 1;
        if (status !== '') socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`);
      });
    });
    const clock = createManualClock();
    const pool = new ServicePool({ clock, isOwnSocket: () => false });
    const changes: boolean[] = [];
    const checks = new HealthChecks({
      pool,
      clock,
      logger: silentLogger,
      onChange: (_service, healthy) => changes.push(healthy),
    });
    const service = {
      name: 'web',
      host: 'web.shop.internal',
      target: `127.0.0.1:${server.port}`,
      path: '/healthz?a=b',
    };
    checks.update([service]);
    /** Waits for the question that is under way, then for the next one to be due. */
    const answered = async (count: number): Promise<void> => {
      await until(() => requests >= count);
      // The only timer left is the one to the next question.
      for (let i = 0; i < 200; i++) await turn();
    };
    await answered(1);
    assert.equal(checks.isHealthy('web'), true);
    status = '503 Service Unavailable';
    clock.advance(5_000);
    await answered(2);
    assert.equal(checks.isHealthy('web'), true);
    clock.advance(5_000);
    await answered(3);
    assert.equal(checks.isHealthy('web'), false);
    checks.update([service]);
    assert.equal(checks.isHealthy('web'), false, 'an update that changes nothing keeps the verdict');
    status = '204 No Content';
    clock.advance(5_000);
    await answered(4);
    assert.equal(checks.isHealthy('web'), true);
    assert.deepEqual(changes, [false, true]);
    // No answer in time is a failure too.
    status = '';
    for (let count = 5; count < 7; count++) {
      clock.advance(5_000);
      await answered(count);
      clock.advance(2_000);
    }
    assert.equal(checks.isHealthy('web'), false);
    checks.update([{ ...service, path: '/other' }]);
    assert.equal(checks.isHealthy('web'), true, 'another question begins anew');
    checks.stop();
    pool.close();
    await until(() => clock.pending === 0);
  });

  test('streams to an unhealthy service are refused, and nothing is asked that was not exposed', async () => {
    let asked = 0;
    await using server = await rawServer((socket) => {
      socket.on('data', () => {
        asked += 1;
        socket.write('HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n');
      });
    });
    const clock = createManualClock(Date.parse('2026-11-20T10:00:00Z'));
    const hub = new MemoryHub();
    await using web = machine(hub, 'web-1', PEERS.web1, { clock });
    const services = contract().services.map((each) =>
      each.name === 'web' ? { ...each, target: `127.0.0.1:${server.port}`, health: '/' } : each,
    );
    await web.network.update(viewOf({ services }, clock.now()));
    for (let i = 0; i < 50; i++) await turn();
    assert.equal(asked, 0);
    web.expose(server.port, { public: true });
    web.network.review();
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, new AbortController().signal);
    const ask = (): Peer =>
      new Peer(link.open({ deployment: DEPLOYMENT, service: 'web', kind: 'http' }, requestHead()));
    const before = ask();
    await before.until(() => before.answer !== undefined);
    await until(() => asked === 2);
    for (let i = 0; i < 200; i++) await turn();
    clock.advance(5_000);
    await until(() => asked === 3);
    for (let i = 0; i < 200; i++) await turn();
    assert.equal(await ask().close(), 'SERVICE_UNREACHABLE');
    assert.equal(web.network.services()[0]?.healthy, 1, 'web-2 only');
  });
});
