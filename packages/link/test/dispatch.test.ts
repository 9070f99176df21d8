/** Links of a gateway with workers: one process gives out tickets and reads preambles, each worker has links of its own. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, test } from 'node:test';

import { silentLogger, systemClock, type ByteChannel, type Link, type PeerConnection, type PeerId } from '@moat/core';
import { checkLeaks, createMemoryNetwork, type MemoryNetwork } from '@moat/testkit';

import {
  SocketChannel,
  createLinkDispatcher,
  createLinks,
  createWorkerLinks,
  pipeChannel,
  type LinkDispatcher,
  type LinkService,
  type LinkWorkers,
  type SpentTicket,
  type WorkerLinks,
} from '../src/index.ts';
import { LINK_PROTOCOL, decodeMessage, encodeMessage, type Offer } from '../src/messages.ts';
import { derivePsk, encodePreamble, type Ticket } from '../src/ticket.ts';
import { dialTls } from '../src/transport.tls.ts';
import { ALICE, BOB, LOOPBACK } from './linked.ts';
import { Recorder, echo } from './recorder.ts';

const GATEWAY = BOB;
const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

/** Workers in this process, and what they were handed. */
class Workers implements LinkWorkers, AsyncDisposable {
  readonly links = new Map<number, WorkerLinks>();
  readonly passed: { readonly worker: number; readonly peer: PeerId }[] = [];
  readonly piped: number[] = [];
  dispatcher: LinkDispatcher | undefined;
  #lastNumber = 0;
  readonly #waiting: ((socket: Socket) => void)[] = [];
  readonly #server = createServer({ pauseOnConnect: true }, (far) => this.#waiting.shift()?.(far));

  add(worker: number): void {
    const { dispatcher } = this;
    assert.ok(dispatcher);
    const links = createWorkerLinks({
      logger: silentLogger,
      clock: systemClock,
      self: GATEWAY,
      ask: (peer) => Promise.resolve().then(() => dispatcher.want(peer)),
    });
    links.onLink((link) => {
      this.#lastNumber += 1;
      const number = this.#lastNumber;
      dispatcher.linked(worker, { number, peer: link.peer, path: link.path, piped: this.piped.includes(worker) });
      link.closed.addEventListener('abort', () => dispatcher.unlinked(worker, number), { once: true });
    });
    this.links.set(worker, links);
    dispatcher.workerReady(worker);
  }

  /** As when its process is killed. */
  async kill(worker: number): Promise<void> {
    const links = this.links.get(worker);
    this.links.delete(worker);
    this.dispatcher?.workerGone(worker);
    await links?.stop();
  }

  passSocket(worker: number, socket: Socket, ticket: SpentTicket): void {
    this.passed.push({ worker, peer: ticket.peer });
    this.links.get(worker)?.acceptSocket(socket, ticket);
  }

  passChannel(worker: number, channel: ByteChannel, peer: PeerId, relayed: boolean): void {
    this.piped.push(worker);
    this.#waiting.push((far) => this.links.get(worker)?.acceptChannel(new SocketChannel(far), peer, relayed));
    pipeChannel(channel, connect({ port: (this.#server.address() as AddressInfo).port, host: '127.0.0.1' }));
  }

  revoke(peers: readonly PeerId[]): void {
    for (const links of this.links.values()) links.revoke(peers);
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.links.values()].map((links) => links.stop()));
    this.#server.close();
  }
}

interface Scene extends AsyncDisposable {
  readonly network: MemoryNetwork;
  readonly member: LinkService;
  readonly dispatcher: LinkDispatcher;
  readonly workers: Workers;
  readonly connection: PeerConnection;
  mayLink: boolean;
}

/** Alice, a member, dialed a gateway with workers 1 and 2; nobody has asked for a link yet. */
async function createScene({ listen = true, admitted = true } = {}): Promise<Scene> {
  const network = createMemoryNetwork();
  const workers = new Workers();
  await workers.start();
  const dispatcher = createLinkDispatcher(
    { logger: silentLogger, clock: systemClock, control: network.join(GATEWAY), workers },
    { mayLink: () => scene.mayLink, workers: 4, ...(listen ? { listen: LOOPBACK } : {}) },
  );
  workers.dispatcher = dispatcher;
  const member = createLinks(
    { logger: silentLogger, clock: systemClock, control: network.join(ALICE), accept: (stream) => void echo(stream) },
    { role: 'member', mayLink: () => true, directMs: 10_000 },
  );
  await Promise.all([dispatcher.start({ signal: soon() }), member.start({ signal: soon() })]);
  workers.add(1);
  workers.add(2);
  const scene: Scene = {
    network,
    member,
    dispatcher,
    workers,
    connection: network.connect(ALICE, GATEWAY),
    mayLink: admitted,
    async [Symbol.asyncDispose]() {
      await member.stop();
      await dispatcher.stop();
      await workers[Symbol.asyncDispose]();
      network.disconnect(ALICE, GATEWAY);
    },
  };
  return scene;
}

/** Waits until every worker has a link to Alice; answers them by worker. */
async function allLinked({ workers, dispatcher }: Scene): Promise<Map<number, Link>> {
  for (;;) {
    const next = new Promise<void>((resolve) => {
      const stop = dispatcher.onLink(() => {
        stop();
        resolve();
      });
    });
    const linked = new Map<number, Link>();
    for (const [worker, links] of workers.links) {
      const link = links.get(ALICE);
      if (link !== undefined) linked.set(worker, link);
    }
    if (linked.size === workers.links.size) return linked;
    await Promise.race([next, once(soon(), 'abort').then(() => assert.fail('not every worker got a link'))]);
  }
}

/** A stream that the worker opens is answered by the member. */
async function works(link: Link): Promise<void> {
  const client = new Recorder(link.open(tcp));
  client.stream.write(Buffer.from('hello'));
  client.stream.end();
  assert.equal(await client.closed, undefined);
  assert.equal(client.text, 'hello');
}

/** What Alice gets when she asks by hand. */
async function ask({ network, connection }: Scene): Promise<Offer> {
  const stream = await network.join(ALICE).open(connection, LINK_PROTOCOL, soon());
  await stream.write(encodeMessage({ type: 'ask' }), soon());
  const answer = decodeMessage(await stream.read(soon()));
  await stream.close();
  assert.ok(answer.type === 'offer');
  return answer;
}

function dial({ dispatcher }: Scene, { id }: Ticket, secret: Uint8Array): Promise<ByteChannel> {
  return dialTls({
    host: '127.0.0.1',
    port: dispatcher.port ?? 0,
    preambles: [encodePreamble('gateway', id)],
    ticket: {
      identity: Buffer.from(id).toString('base64url'),
      psk: derivePsk(secret, ALICE, GATEWAY, 'gateway'),
      peer: GATEWAY,
    },
    signal: soon(),
  });
}

describe('a gateway with workers', () => {
  test('sends each member that comes a ticket a worker, and each worker has a link', async () => {
    await using leaks = checkLeaks();
    {
      await using scene = await createScene();
      const linked = await allLinked(scene);
      assert.deepEqual([...linked.keys()], [1, 2]);
      for (const link of linked.values()) await works(link);
      assert.deepEqual(new Set(scene.workers.passed.map(({ worker }) => worker)), new Set([1, 2]));
      assert.equal(scene.dispatcher.get(ALICE)?.path, 'direct');
    }
    assert.ok(leaks);
  });

  test('answers a question with a ticket a worker; of the links of one peer each worker keeps the newest', async () => {
    await using scene = await createScene();
    const before = await allLinked(scene);
    await scene.member.connect(GATEWAY, soon());
    const offer = await ask(scene);
    assert.equal(offer.tickets.length, 2);
    const [first, second] = offer.tickets;
    assert.ok(first && second);
    const stands = new Promise<void>((resolve) => void scene.dispatcher.onLink(() => resolve()));
    const channel = await dial(scene, first, first.secret);
    await stands;
    const worker = scene.workers.passed.at(-1)?.worker ?? 0;
    const link = scene.workers.links.get(worker)?.get(ALICE);
    assert.equal(link === before.get(worker), false);
    channel.destroy();
  });

  test('a worker that is new, or stands in for a dead one, gets its link unasked', async () => {
    await using scene = await createScene();
    const before = await allLinked(scene);
    await scene.workers.kill(1);
    scene.workers.add(3);
    const linked = await allLinked(scene);
    assert.deepEqual([...linked.keys()], [2, 3]);
    assert.equal(linked.get(2) === before.get(2), true, 'the other worker kept its own');
    for (const link of linked.values()) await works(link);
  });

  test('a link that ended comes back while the peer is there', async () => {
    await using scene = await createScene();
    const linked = await allLinked(scene);
    linked.get(1)?.close('LINK_DEAD');
    for (const link of (await allLinked(scene)).values()) await works(link);
  });

  test('a request that finds no link has the peer asked, and fails at once where it is away', async () => {
    await using scene = await createScene({ admitted: false });
    const links = scene.workers.links.get(1);
    assert.ok(links);
    await assert.rejects(links.connect(ALICE, soon()), { code: 'LINK_FAILED' });
    scene.mayLink = true;
    await works(await links.connect(ALICE, soon()));
  });

  test('whoever may not be linked any more loses the link at every worker, and every ticket', async () => {
    await using scene = await createScene();
    const linked = await allLinked(scene);
    const offer = await ask(scene);
    scene.mayLink = false;
    scene.dispatcher.recheck();
    for (const link of linked.values()) {
      assert.equal(link.closed.aborted, true);
      assert.equal((link.closed.reason as { code: string }).code, 'LINK_REVOKED');
    }
    for (const ticket of offer.tickets) await assert.rejects(dial(scene, ticket, ticket.secret));
    await assert.rejects(ask(scene));
    assert.deepEqual(scene.dispatcher.list(), []);
  });

  test('a socket that is under way when its peer is dropped becomes no link that stays', async () => {
    await using scene = await createScene();
    await allLinked(scene);
    const [ticket] = (await ask(scene)).tickets;
    assert.ok(ticket);
    const channel = dial(scene, ticket, ticket.secret);
    while (scene.workers.passed.length < 3) await new Promise<void>((resolve) => setImmediate(resolve));
    scene.mayLink = false;
    scene.dispatcher.recheck();
    const closed = await channel.then(
      (made) => new Promise<boolean>((resolve) => (made.onClose = () => resolve(true))),
      () => true,
    );
    assert.equal(closed, true);
    for (const links of scene.workers.links.values()) assert.equal(links.get(ALICE), undefined);
  });

  test('where no socket stands every worker has a link over the overlay', async () => {
    await using scene = await createScene({ listen: false });
    const linked = await allLinked(scene);
    assert.deepEqual(new Set(scene.workers.piped), new Set([1, 2]));
    for (const link of linked.values()) await works(link);
    assert.equal(
      scene.dispatcher.workerLinks().every(({ piped }) => piped),
      true,
    );
    const big = new Recorder((linked.get(1) ?? assert.fail('no link')).open(tcp));
    const bytes = Buffer.alloc(3 << 20, 'x');
    for (let at = 0; at < bytes.length; at += 64 * 1024) {
      await big.send(bytes.subarray(at, at + 64 * 1024));
    }
    big.stream.end();
    await big.closed;
    assert.equal(big.bytes, bytes.length);
  });
});

describe('what a thief of tickets gets from workers', () => {
  test('a ticket works once, whichever worker it was for', async () => {
    await using scene = await createScene();
    await allLinked(scene);
    for (const ticket of (await ask(scene)).tickets) {
      (await dial(scene, ticket, ticket.secret)).destroy();
      await assert.rejects(dial(scene, ticket, ticket.secret));
    }
  });

  test("a worker's key opens no other worker", async () => {
    await using scene = await createScene();
    await allLinked(scene);
    const [first, second] = (await ask(scene)).tickets;
    assert.ok(first && second);
    const before = scene.workers.passed.length;
    await assert.rejects(dial(scene, first, second.secret));
    // The socket went to the worker of its id and nowhere else, and that id is spent.
    assert.equal(scene.workers.passed.length, before + 1);
    await assert.rejects(dial(scene, first, first.secret));
    (await dial(scene, second, second.secret)).destroy();
    const [, of] = scene.workers.passed.slice(before).map(({ worker }) => worker);
    assert.notEqual(of, scene.workers.passed[before]?.worker);
  });

  test('a ticket for a worker that is gone opens nothing, also not the one in its place', async () => {
    await using scene = await createScene();
    await allLinked(scene);
    const offer = await ask(scene);
    await scene.workers.kill(1);
    await scene.workers.kill(2);
    scene.workers.add(3);
    const before = scene.workers.passed.filter(({ worker }) => worker === 3).length;
    for (const ticket of offer.tickets) await assert.rejects(dial(scene, ticket, ticket.secret));
    await allLinked(scene);
    const after = scene.workers.passed.filter(({ worker }) => worker === 3).length;
    assert.ok(after - before <= 1, 'only the ticket that the member was sent');
  });
});
