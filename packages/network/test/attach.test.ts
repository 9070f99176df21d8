import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { suite, test } from 'node:test';
import { isMoatError, type Clock } from '@moat/core';
import { checkLeaks, createManualClock, type ManualClock } from '@moat/testkit';
import { MemoryHub } from './memory-links.ts';
import { Peer, rawServer, requestHead, type RawServer } from './peer.ts';
import { DEPLOYMENT, PEERS, contract, machine, targeting, viewOf } from './shop.ts';

const NEVER = new AbortController().signal;

/** A service that greets with its name and echoes. */
function echo(name: string): Promise<RawServer> {
  return rawServer((socket) => {
    socket.write(`${name}:`);
    socket.on('data', (chunk: Buffer) => socket.write(chunk));
    socket.on('end', () => socket.end());
  });
}

async function said(peer: Peer, text: string): Promise<void> {
  await peer.until(() => peer.body === text || peer.closed !== undefined);
  assert.equal(peer.body, text);
}

suite('private network', () => {
  test('a member reaches a granted service of another', async () => {
    await using _ = checkLeaks();
    const hub = new MemoryHub();
    await using service = await echo('db');
    await using web = machine(hub, 'web-1', PEERS.web1);
    await using db = machine(hub, 'db-1', PEERS.db1);
    db.expose(service.port);
    const view = viewOf({ ...targeting({ db: service.port }), members: contract().members.slice(0, 3) });
    await Promise.all([web.network.update(view), db.network.update(view)]);
    const peer = new Peer(await web.network.open('db', NEVER));
    peer.stream.write(Buffer.from('hello'));
    await said(peer, 'db:hello');
    peer.stream.end();
    assert.equal(await peer.close(), undefined);
  });

  test('a service of datagrams has no listener and no stream: it needs an interface', async () => {
    const hub = new MemoryHub();
    const addresses: string[] = [];
    const planeAddresses = (): readonly string[] => addresses;
    await using web = machine(hub, 'web-1', PEERS.web1, { loopback: true, planeAddresses });
    const services = contract().services.map((each) => ({ ...each, protocol: 'udp' as const }));
    await web.network.update(viewOf({ services, publish: [] }));
    const [, db] = web.network.services();
    assert.deepEqual([db?.address, db?.code, db?.plane], [null, 'NEEDS_WIREGUARD', []]);
    await assert.rejects(web.network.open('db', NEVER), { code: 'NEEDS_WIREGUARD' });
    addresses.push('10.77.0.4');
    assert.deepEqual(web.network.services()[1]?.plane, ['10.77.0.4']);
  });

  test('an http service of a member, asked by a gateway', async () => {
    const hub = new MemoryHub();
    await using service = await rawServer((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'));
    });
    await using web = machine(hub, 'web-1', PEERS.web1);
    web.expose(service.port, { public: true });
    await web.network.update(viewOf(targeting({ web: service.port })));
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    const peer = new Peer(link.open({ deployment: DEPLOYMENT, service: 'web', kind: 'http' }, requestHead()));
    peer.stream.end();
    await peer.end();
    assert.equal(peer.answer?.status, 200);
    assert.equal(peer.body, 'hi');
    const bytes = new Peer(link.open({ deployment: DEPLOYMENT, service: 'web', kind: 'tcp' }));
    assert.equal(await bytes.close(), 'KIND_MISMATCH');
    const other = new Peer(link.open({ deployment: DEPLOYMENT, service: 'db', kind: 'tcp' }));
    assert.equal(await other.close(), 'NOT_PUBLISHED');
  });

  test('while everything is refused members and gateways get nothing, and what runs ends', async () => {
    const hub = new MemoryHub();
    let code: string | undefined;
    const refusal = (): string | undefined => code;
    await using service = await echo('db');
    await using web = machine(hub, 'web-1', PEERS.web1, { refusal });
    await using db = machine(hub, 'db-1', PEERS.db1);
    web.expose(service.port, { public: true });
    db.expose(service.port);
    const view = viewOf({
      ...targeting({ db: service.port, web: service.port }),
      members: contract().members.slice(0, 3),
    });
    await Promise.all([web.network.update(view), db.network.update(view)]);
    const out = new Peer(await web.network.open('db', NEVER));
    const link = await hub.links(PEERS.db1).connect(PEERS.web1, NEVER);
    const inward = new Peer(link.open({ deployment: DEPLOYMENT, service: 'web', kind: 'tcp' }));
    inward.stream.write(Buffer.from('x'));
    await said(inward, 'db:x');

    code = 'STALE';
    const updated = web.network.update(view);
    assert.deepEqual([await out.close(), await inward.close()], ['STALE', 'STALE']);
    await updated;
    await assert.rejects(web.network.open('db', NEVER), { code: 'STALE' });
    const byGateway = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    for (const each of [link, byGateway]) {
      const refused = new Peer(each.open({ deployment: DEPLOYMENT, service: 'web', kind: 'http' }, requestHead()));
      assert.equal(await refused.close(), 'STALE');
    }

    code = undefined;
    await web.network.update(view);
    const again = new Peer(await web.network.open('db', NEVER));
    again.stream.write(Buffer.from('y'));
    await said(again, 'db:y');
    again.stream.reset('CLIENT_RESET');
  });

  test('says before dialing why a service may not be opened', async () => {
    const hub = new MemoryHub();
    await using db = machine(hub, 'db-2', PEERS.db2);
    const code = async (service: string): Promise<string> =>
      db.network.open(service, NEVER).then(
        () => 'opened',
        (error: unknown) => (isMoatError(error) ? error.code : String(error)),
      );
    assert.equal(await code('web'), 'NETWORK_STOPPED');
    await db.network.update(viewOf());
    assert.equal(await code('web'), 'GRANT_DENIED');
    assert.equal(await code('mail'), 'SERVICE_UNKNOWN');
    assert.equal(hub.streams.length, 0);
    await db.network.update(viewOf({ state: 'ended' }));
    assert.equal(await code('web'), 'DEPLOYMENT_ENDED');
    await db.network.stop();
    assert.equal(await code('web'), 'NETWORK_STOPPED');
  });

  test('goes on to another instance when one refuses, is away or says nothing', async () => {
    const hub = new MemoryHub();
    await using service = await echo('db-2');
    const clock = createManualClock(Date.parse('2026-11-20T10:00:00Z'));
    await using web = machine(hub, 'web-1', PEERS.web1, { clock });
    await using db2 = machine(hub, 'db-2', PEERS.db2);
    db2.expose(service.port);
    const view = viewOf(targeting({ db: service.port }));
    await Promise.all([web.network.update(view), db2.network.update(view)]);
    const reach = async (from = web): Promise<void> => {
      const peer = new Peer(await from.network.open('db', NEVER));
      await said(peer, 'db-2:');
      peer.stream.reset('CLIENT_RESET');
    };
    // db-1 is away.
    await reach();
    // db-1 is there, and its operator exposed nothing.
    clock.advance(600_000);
    await using db1 = machine(hub, 'db-1', PEERS.db1);
    await db1.network.update(view);
    await reach();
    // db-1 says nothing: for a machine without links only the clock ends the wait.
    await using web2 = machine(hub, 'web-2', PEERS.web2, { clock });
    await web2.network.update(view);
    hub.silent.add(PEERS.db1);
    const waiting = reach(web2);
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(5_001);
    await waiting;
    const state = web2.network.services().find(({ name }) => name === 'db');
    assert.deepEqual(state?.instances, ['db-1', 'db-2']);
    assert.equal(state.healthy, 1);
  });

  test('the last refusal is what the program hears', async () => {
    const hub = new MemoryHub();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await using db1 = machine(hub, 'db-1', PEERS.db1);
    await Promise.all([web.network.update(viewOf()), db1.network.update(viewOf())]);
    await assert.rejects(web.network.open('db', NEVER), (error: unknown) => isMoatError(error, 'NOT_EXPOSED'));
    hub.leave(PEERS.db1);
    await assert.rejects(web.network.open('db', NEVER), (error: unknown) => isMoatError(error, 'SERVICE_UNREACHABLE'));
  });

  test('prefers an instance that has a link, and links up another meanwhile', async () => {
    const hub = new MemoryHub();
    await using service = await echo('db');
    await using web = machine(hub, 'web-1', PEERS.web1);
    await using db1 = machine(hub, 'db-1', PEERS.db1);
    db1.expose(service.port);
    const view = viewOf(targeting({ db: service.port }));
    await Promise.all([web.network.update(view), db1.network.update(view)]);
    // The first stream finds db-1 behind db-2, which is not there.
    const reach = async (): Promise<void> => {
      const peer = new Peer(await web.network.open('db', NEVER));
      await said(peer, 'db:');
      peer.stream.reset('CLIENT_RESET');
    };
    await reach();
    await using db2 = machine(hub, 'db-2', PEERS.db2);
    hub.silent.add(PEERS.db2);
    await db2.network.update(view);
    web.network.services();
    hub.connects.length = 0;
    for (let i = 0; i < 5; i++) await reach();
    assert.ok(hub.connects.filter((peer) => peer === PEERS.db2).length <= 1, 'asked for a link once at most');
  });

  test('an own instance comes first, and another when it is down', async () => {
    const hub = new MemoryHub();
    await using far = await echo('far');
    await using web1 = machine(hub, 'web-1', PEERS.web1);
    await using web2 = machine(hub, 'web-2', PEERS.web2);
    const near = await echo('near');
    web1.expose(near.port);
    web2.expose(far.port);
    const access = [{ from: ['tag:web'], to: ['web'] }];
    const nearView = viewOf({ ...targeting({ web: near.port }), access });
    await Promise.all([
      web1.network.update(nearView),
      web2.network.update(viewOf({ ...targeting({ web: far.port }), access })),
    ]);
    const first = new Peer(await web1.network.open('web', NEVER));
    await said(first, 'near:');
    assert.equal(hub.streams.length, 0);
    first.stream.reset('CLIENT_RESET');
    await near[Symbol.asyncDispose]();
    const second = new Peer(await web1.network.open('web', NEVER));
    await said(second, 'far:');
  });

  test('the signal ends the wait', async () => {
    const hub = new MemoryHub();
    hub.silent.add(PEERS.db1).add(PEERS.db2);
    await using web = machine(hub, 'web-1', PEERS.web1);
    await web.network.update(viewOf());
    const gone = new AbortController();
    const opening = web.network.open('db', gone.signal);
    gone.abort(new Error('enough'));
    await assert.rejects(opening, /enough/);
  });

  test("never to one of Moat's own sockets, even where a name leads there", async () => {
    const hub = new MemoryHub();
    await using db = machine(hub, 'db-1', PEERS.db1);
    await using own = await echo('moat');
    // Exposed first; then Moat itself opens that port, unseen by name.
    db.exposed.add({ deployment: DEPLOYMENT, target: `localhost:${own.port}`, public: false });
    const sockets = db.network.sockets.bind(db.network);
    db.network.sockets = () => [...sockets(), { host: '127.0.0.1', port: own.port }];
    const services = contract().services.map((each) =>
      each.name === 'db' ? { ...each, target: `localhost:${own.port}` } : each,
    );
    await db.network.update(viewOf({ services }));
    const link = await hub.links(PEERS.web1).connect(PEERS.db1, NEVER);
    const peer = new Peer(link.open({ deployment: DEPLOYMENT, service: 'db', kind: 'tcp' }));
    assert.equal(await peer.close(), 'SERVICE_UNREACHABLE');
    assert.equal(peer.body, '');
  });
});

suite('private network: taking away', () => {
  async function running(): Promise<{
    readonly web: ReturnType<typeof machine>;
    readonly db: ReturnType<typeof machine>;
    readonly service: RawServer;
    readonly peer: Peer;
    readonly hub: MemoryHub;
    readonly clock: ManualClock;
    /** Time goes on and timers do not. */
    readonly sleep: (milliseconds: number) => void;
    readonly ports: ReturnType<typeof targeting>;
    readonly stack: AsyncDisposableStack;
  }> {
    const stack = new AsyncDisposableStack();
    const hub = new MemoryHub();
    const clock = createManualClock(Date.parse('2026-11-20T10:00:00Z'));
    let slept = 0;
    const local: Clock = { now: () => clock.now() + slept, after: (delayMs, act) => clock.after(delayMs, act) };
    const service = stack.use(await echo('db'));
    const web = stack.use(machine(hub, 'web-1', PEERS.web1, { clock: local }));
    const db = stack.use(machine(hub, 'db-1', PEERS.db1, { clock: local }));
    db.expose(service.port);
    const ports = { ...targeting({ db: service.port }), members: contract().members.slice(0, 3) };
    const access = [{ from: ['web-1'], to: ['db'], expires: '2026-11-20T11:00:00Z' }];
    const view = viewOf({ ...ports, access }, clock.now());
    await Promise.all([web.network.update(view), db.network.update(view)]);
    const peer = new Peer(await web.network.open('db', NEVER));
    await said(peer, 'db:');
    const sleep = (milliseconds: number): void => void (slept += milliseconds);
    return { hub, web, db, service, peer, clock, sleep, ports: { ...ports, access }, stack };
  }

  test('a grant that is gone ends running streams on the receiver', async () => {
    const all = await running();
    await using _ = all.stack;
    const [socket] = all.service.sockets as Set<Socket>;
    await all.db.network.update(viewOf({ ...all.ports, access: [], version: 1 }));
    assert.equal(await all.peer.close(), 'GRANT_DENIED');
    if (socket && !socket.destroyed) await once(socket, 'close');
  });

  test('and on the opener, even where the receiver does not know yet', async () => {
    const all = await running();
    await using _ = all.stack;
    await all.web.network.update(viewOf({ ...all.ports, access: [], version: 1 }));
    assert.equal(await all.peer.close(), 'GRANT_DENIED');
  });

  test('a grant that expires ends running streams by the clock alone', async () => {
    const all = await running();
    await using _ = all.stack;
    all.clock.advance(3_600_000);
    assert.equal(all.peer.closed, undefined);
    all.clock.advance(2);
    assert.equal(await all.peer.close(), 'GRANT_EXPIRED');
  });

  test('a grant that expired while the machine slept ends its streams soon after', async () => {
    const all = await running();
    await using _ = all.stack;
    all.sleep(2 * 3_600_000);
    all.clock.advance(30_001);
    assert.equal(await all.peer.close(), 'GRANT_EXPIRED');
  });

  test('a question that comes again is judged by the time, the contract and the consent of its own moment', async () => {
    const all = await running();
    await using _ = all.stack;
    const link = await all.hub.links(PEERS.web1).connect(PEERS.db1, NEVER);
    const request = { deployment: DEPLOYMENT, service: 'db', kind: 'tcp' } as const;
    const open = (): Peer => new Peer(link.open(request));
    await said(open(), 'db:');
    all.clock.advance(3_599_999);
    for (let i = 0; i < 2; i++) await said(open(), 'db:');
    all.sleep(1);
    assert.equal(await open().close(), 'GRANT_EXPIRED');
    const view = viewOf({ ...all.ports, access: [{ from: ['web-1'], to: ['db'] }], version: 1 });
    await all.db.network.update(view);
    for (let i = 0; i < 2; i++) await said(open(), 'db:');
    all.db.exposed.remove(DEPLOYMENT, `127.0.0.1:${all.service.port}`);
    all.db.network.review();
    assert.equal(await open().close(), 'NOT_EXPOSED');
    all.db.expose(all.service.port);
    await said(open(), 'db:');
    await all.db.network.update(viewOf({ ...all.ports, access: [], version: 2 }));
    assert.equal(await open().close(), 'GRANT_DENIED');
  });

  test('an exposure that is taken back ends running streams', async () => {
    const all = await running();
    await using _ = all.stack;
    all.db.exposed.remove(DEPLOYMENT, `127.0.0.1:${all.service.port}`);
    all.db.network.review();
    assert.equal(await all.peer.close(), 'NOT_EXPOSED');
  });

  test('a target that moved, a member that left and a deployment that ended do too', async () => {
    const changes = [
      [{ services: contract().services }, 'NOT_EXPOSED'],
      [targeting({ db: 4_321 }), 'SERVICE_UNKNOWN'],
      [{ members: contract().members.slice(1, 3) }, 'GRANT_DENIED'],
      [{ members: contract().members.slice(0, 2) }, 'MEMBER_UNKNOWN'],
      [{ state: 'ended' }, 'DEPLOYMENT_ENDED'],
    ] as const;
    for (const [change, code] of changes) {
      const all = await running();
      await using _ = all.stack;
      all.db.expose(4_321);
      await all.db.network.update(viewOf({ ...all.ports, ...change, version: 1 }));
      assert.equal(await all.peer.close(), code);
    }
  });

  test('what the new version still allows goes on undisturbed', async () => {
    const all = await running();
    await using _ = all.stack;
    const view = viewOf({ ...all.ports, version: 1, publish: [] });
    await Promise.all([all.db.network.update(view), all.web.network.update(view)]);
    all.peer.stream.write(Buffer.from('still here'));
    await said(all.peer, 'db:still here');
  });

  test('stopping ends everything, twice over', async () => {
    const all = await running();
    await using _ = all.stack;
    await all.db.network.stop();
    assert.equal(await all.peer.close(), 'NETWORK_STOPPED');
    await all.db.network.stop();
  });

  test('too many streams are refused', async () => {
    const hub = new MemoryHub();
    await using service = await echo('db');
    await using db = machine(hub, 'db-1', PEERS.db1, { maxAccepted: 1 });
    db.expose(service.port);
    await db.network.update(viewOf(targeting({ db: service.port })));
    const link = await hub.links(PEERS.web1).connect(PEERS.db1, NEVER);
    const request = { deployment: DEPLOYMENT, service: 'db', kind: 'tcp' } as const;
    const first = new Peer(link.open(request));
    assert.equal(await new Peer(link.open(request)).close(), 'SERVICE_BUSY');
    first.stream.reset('CLIENT_RESET');
    await new Promise((resolve) => setImmediate(resolve));
    const third = new Peer(link.open(request));
    await said(third, 'db:');
  });
});

suite('private network: loopback', () => {
  test('a listener a granted service, at a stable address with the real port; none for others', async () => {
    await using _ = checkLeaks();
    const hub = new MemoryHub();
    await using service = await echo('db');
    await using web = machine(hub, 'web-1', PEERS.web1, { loopback: true });
    await using db = machine(hub, 'db-1', PEERS.db1);
    db.expose(service.port);
    const view = viewOf({ ...targeting({ db: service.port }), members: contract().members.slice(0, 3) });
    await Promise.all([web.network.update(view), db.network.update(view)]);
    const [webState, dbState] = web.network.services();
    assert.equal(webState?.address, null);
    assert.equal(webState?.granted, false);
    assert.match(dbState?.address ?? '', /^127\./);
    assert.equal(dbState?.port, 5432);
    assert.equal(dbState.host, 'db.shop.internal');
    const { address } = dbState;
    assert.ok(address);

    const socket = connect({ host: address, port: 5432, allowHalfOpen: true });
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.end('hello');
    await once(socket, 'end');
    assert.equal(text, 'db:hello');

    await web.network.update(viewOf({ ...targeting({ db: service.port }), access: [] }));
    const refused = connect({ host: address, port: 5432 });
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNREFUSED');

    await web.network.update(view);
    assert.equal(web.network.services()[1]?.address, address);
    assert.deepEqual(web.network.sockets(), [{ host: address, port: 5432 }]);
  });

  test('a program is reset when there is no instance', async () => {
    const hub = new MemoryHub();
    await using web = machine(hub, 'web-1', PEERS.web1, { loopback: true });
    await web.network.update(viewOf());
    const { address, port } = web.network.services()[1] ?? {};
    const socket = connect({ host: address ?? '', port: port ?? 0 });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
  });
});
